"""What to do about waiting: each change where it is the one that helps, and none where it is in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vit_cli.data.batch import Stages
from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.train import advice
from vit_cli.train.advice import (
    Interval,
    Reading,
    Remedy,
    advise,
    choose_cache,
    describe_reading,
    find_advice,
    pack_side,
    predict,
)
from vit_cli.train.folder import RunFolder
from vit_cli.train.progress import Silence
from vit_cli.train.wire import Run, wire

BUSY = Reading(workers=7, most_workers=7, cache="", gpu_is_unused=False, short_side=300, res=224, is_packed=True)
"""Nothing is left to change: every core reads, from packed small pictures."""


def waiting(stages: Stages, share: float = 0.5, steps: int = 100) -> Interval:
    """Steps of which `share` is waiting; `stages` are the seconds of one batch, made by seven workers."""
    seconds = steps * sum(stages) / 7
    return Interval(steps, seconds, share * seconds, Stages(*(steps * part for part in stages)))


EVEN = Stages(read=0.2, decode=0.8, cut=0.4, change=0.6)


def test_the_line_tells_what_was_measured() -> None:
    said = advise(waiting(EVEN, share=0.43), BUSY)
    assert said.startswith(
        "Training waits for images 43% of the time. Making a batch takes 2 s in a worker, 40% of it decoding."
    )


@pytest.mark.parametrize(
    ("stages", "doing"),
    [
        (Stages(0.9, 0.1, 0, 0), "90% of it reading"),
        (Stages(0, 0.2, 0.8, 0), "80% of it cropping and resizing"),
        (Stages(0, 0.02, 0, 0.02 * 49), "98% of it augmenting"),
    ],
)
def test_the_longest_stage_is_named(stages: Stages, doing: str) -> None:
    assert doing in advise(waiting(stages), BUSY)


def test_idle_cores_get_workers() -> None:
    assert "data.workers=7 (now 2)" in advise(waiting(EVEN), BUSY._replace(workers=2))
    said = advise(waiting(EVEN), BUSY._replace(workers=0))
    assert "data.workers=7 (now 0)" in said
    assert "where it trains" in said


def test_augmentation_goes_to_a_gpu_where_that_is_what_takes_time() -> None:
    stages = Stages(0.1, 0.4, 0.3, 1.2)
    assert "data.augment_on=device" in advise(waiting(stages), BUSY._replace(gpu_is_unused=True))
    assert "data.augment_on" not in advise(waiting(stages), BUSY)


def test_what_fits_into_memory_is_kept_there() -> None:
    stages = Stages(0.3, 1.2, 0.3, 0.2)
    assert "data.cache=ram" in advise(waiting(stages), BUSY._replace(cache="data.cache=ram", gpu_is_unused=True))
    assert "data.cache" not in advise(waiting(stages), BUSY)


def test_large_pictures_are_packed_smaller() -> None:
    said = advise(waiting(Stages(0.1, 1.6, 0.2, 0.1)), BUSY._replace(short_side=3024))
    assert "vit data pack SRC DEST --short-side 320, which leaves 1% of the pixels to decode." in said


def test_many_files_that_are_slow_to_read_are_packed_as_they_are() -> None:
    slow = Stages(1.5, 0.3, 0.1, 0.1)
    said = advise(waiting(slow), BUSY._replace(is_packed=False))
    assert "vit data pack SRC DEST, which" in said
    assert "data pack" not in advise(waiting(slow), BUSY)


def test_the_change_that_saves_most_is_the_one() -> None:
    every = BUSY._replace(cache="data.cache=ram", gpu_is_unused=True, short_side=1000, is_packed=False)
    assert "data.augment_on" in advise(waiting(Stages(0.1, 0.2, 0.2, 1.5), share=0.9), every)
    assert "data.cache" in advise(waiting(Stages(0.5, 1.0, 0.2, 0.3), share=0.9), every)
    assert "data.cache" not in advise(waiting(Stages(0.5, 1.0, 0.2, 0.3), share=0.9), every._replace(cache=""))


def test_the_cheaper_of_two_changes_that_both_end_the_waiting_is_the_one() -> None:
    every = BUSY._replace(workers=4, cache="data.cache=ram", gpu_is_unused=True)
    took = Interval(100, 100.0, 25.0, Stages(100.0, 100.0, 0.0, 200.0))
    assert "data.workers=7" in advise(took, every)
    assert "data.augment_on" in advise(took, every._replace(workers=4, most_workers=4))


def test_where_all_is_in_use_the_line_says_so() -> None:
    assert "No setting would help much" in advise(waiting(EVEN), BUSY)


def test_little_waiting_few_steps_and_no_measurement_say_nothing() -> None:
    assert advise(waiting(EVEN, share=0.2), BUSY) == ""
    assert advise(waiting(EVEN, steps=19), BUSY) == ""
    assert advise(Interval(100, 10.0, 9.0, Stages()), BUSY) == ""
    assert advise(Interval(0, 0.0, 0.0, Stages()), BUSY) == ""


def test_batches_come_beside_training_or_between_the_steps() -> None:
    four, none = BUSY._replace(workers=4), BUSY._replace(workers=0)
    half = Remedy("", 4, 0.5)  # of a batch that takes a second
    assert predict(Interval(10, 2.5, 1.5, Stages(decode=10.0)), four, half) == pytest.approx(0.125)
    assert predict(Interval(10, 2.5, 0.5, Stages(decode=10.0)), four, half) == pytest.approx(0.2)  # training itself
    assert predict(Interval(10, 12.0, 10.0, Stages(decode=10.0)), none, Remedy("", 0, 0.5)) == pytest.approx(0.7)
    assert predict(Interval(10, 12.0, 10.0, Stages(decode=10.0)), none, half) == pytest.approx(0.2)


def test_time_that_no_stage_shows_counts_with_them() -> None:
    """Workers that take twice as long as their stages say: a transport, a busy machine."""
    took = Interval(10, 5.0, 4.0, Stages(decode=10.0))
    assert predict(took, BUSY._replace(workers=4), Remedy("", 4, 1.0)) == pytest.approx(0.5)
    assert predict(took, BUSY._replace(workers=4), Remedy("", 8, 1.0)) == pytest.approx(0.25)


@pytest.mark.parametrize(("res", "side"), [(224, 320), (384, 544), (32, 64)])
def test_a_pack_is_large_enough_for_the_mean_crop(res: int, side: int) -> None:
    assert pack_side(res) == side
    assert side * 0.54**0.5 >= res


def sizes(rows: int, columns: int) -> NDArray[np.int64]:
    return np.array([[rows, columns]] * 3)


def test_a_cache_is_advised_where_all_images_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "free_memory", lambda: 10_000_000)
    monkeypatch.setattr(advice, "free_shared_memory", lambda: 8_000_000)
    assert choose_cache(sizes(100, 200), side=64, images=100, processes=1) == "data.cache=ram"
    assert choose_cache(sizes(100, 200), side=64, images=100, processes=2) == "data.cache=ram data.cache_size=64"
    assert choose_cache(sizes(100, 200), side=64, images=1000, processes=1) == ""
    assert choose_cache(np.empty((0, 2)), side=64, images=1, processes=1) == ""


def test_large_pictures_are_cached_reduced_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("free_memory", "free_shared_memory"):
        monkeypatch.setattr(advice, name, lambda: 10**12)
    assert choose_cache(sizes(3000, 4000), side=320, images=100, processes=1) == "data.cache=ram data.cache_size=320"


def wire_photos(folder: Path, *changes: str) -> Run:
    source = "data.train={name: synthetic, images: 64, size: 48, jpeg: true}"
    recipe = load_recipe("smoke", [source, "data.val=null", *changes]).recipe
    return wire(recipe, RunFolder(folder), World(0, 1, torch.device("cpu")), Silence())


def test_a_run_says_once_what_to_do(tmp_path: Path) -> None:
    run = wire_photos(tmp_path, "data.cache=none", "data.workers=0")
    took = Interval(100, 100.0, 90.0, Stages(1.0, 80.0, 4.0, 5.0))
    assert find_advice(run, took._replace(waited=5.0)) == ""
    said = find_advice(run, took)
    assert said.startswith("Training waits for images 90% of the time.")
    assert "data.cache=ram" in said
    assert find_advice(run, took) == ""


def test_what_a_run_has_is_not_advised(tmp_path: Path) -> None:
    bare = describe_reading(wire_photos(tmp_path, "data.cache=none", "data.workers=0"))
    assert (bare.workers, bare.cache, bare.short_side, bare.is_packed) == (0, "data.cache=ram", 48, True)
    assert not bare.gpu_is_unused
    kept = describe_reading(wire_photos(tmp_path, "data.cache=ram", "data.workers=0"))
    assert (kept.most_workers, kept.cache, kept.short_side) == (0, "", 0)

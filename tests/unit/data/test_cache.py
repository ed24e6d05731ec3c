"""A cache changes nothing but the time."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.data.pictures import KINDS, Broken, Jitter, look_with, picture
from vit_cli.data import cache
from vit_cli.data.cache import Cached, cached
from vit_cli.data.decode import MAX_PIXELS, to_pixels
from vit_cli.data.folder import Folder
from vit_cli.data.loader import EvalBatches, TrainBatches
from vit_cli.data.order import Order
from vit_cli.data.remember import RememberedBatches
from vit_cli.data.samples import Samples
from vit_cli.data.synthetic import Synthetic
from vit_cli.data.workers import choose_workers
from vit_cli.errors import DataError


def images(samples: Samples) -> torch.Tensor:
    batches = TrainBatches(samples, Order(len(samples), 0, 16), Jitter(), steps=range(4))
    return torch.cat([batch.images for batch in batches])


@pytest.mark.parametrize("kind", KINDS)
def test_cached_images_make_the_same_batches(kind: str, open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind(kind)
    full = cached(samples, "ram", MAX_PIXELS)
    assert isinstance(full, Cached) == (kind not in ("digits", "torchvision"))  # those are in memory anyway
    torch.testing.assert_close(images(full), images(samples), rtol=0, atol=0)
    assert [full.key(3), full.name(3)] == [samples.key(3), samples.name(3)]


def test_a_cache_of_several_chunks_keeps_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHUNK", 7)
    samples = Synthetic(images=40, size=(5, 3)).open()
    full = cached(samples, "ram", MAX_PIXELS)
    for index in range(40):
        np.testing.assert_array_equal(full.read(index), samples.read(index))
    again = pickle.loads(pickle.dumps(full))
    np.testing.assert_array_equal(again.read(39), samples.read(39))


def test_a_broken_image_is_left_for_the_loader_to_report() -> None:
    samples = Broken(Synthetic(images=20, size=8).open(), {0: b"junk", 19: b""})
    full = cached(samples, "ram", MAX_PIXELS)
    assert isinstance(full, Cached)
    assert (full.read(0), full.read(19)) == (b"junk", b"")
    np.testing.assert_array_equal(full.read(7), samples.read(7))


def test_auto_keeps_what_fits_the_budget_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Synthetic(images=40, size=8).open()
    monkeypatch.setattr(cache, "BUDGET", 40 * 8 * 8 * 3)
    assert isinstance(cached(samples, "auto", MAX_PIXELS), Cached)
    monkeypatch.setattr(cache, "BUDGET", 40 * 8 * 8 * 3 - 1)
    assert cached(samples, "auto", MAX_PIXELS) is samples
    assert cached(samples, "none", MAX_PIXELS) is samples


def test_a_wrong_estimate_is_noticed_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Synthetic(images=40, size=8).open()
    monkeypatch.setattr(cache, "PROBES", 1)
    assert cache.decode_all(samples, MAX_PIXELS, room=1000) is None


def test_ram_without_enough_memory_is_an_error_with_numbers() -> None:
    samples = Synthetic(images=1000, size=200).open()
    with pytest.raises(DataError, match=r"needs about 0\.1 GB, and 0\.0 GB are free"):
        cached(samples, "ram", MAX_PIXELS, processes=10**15)


def test_evaluation_batches_are_made_once() -> None:
    made: list[int] = []

    def transform(pixels: torch.Tensor) -> torch.Tensor:
        made.append(1)
        return pixels

    batches = RememberedBatches(EvalBatches(Synthetic(images=25, size=8).open(), look_with(transform), batch_size=10))
    first, second = list(batches), list(batches)
    assert len(made) == 25
    assert len(batches) == len(second) == 3
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.images, b.images, rtol=0, atol=0)
        torch.testing.assert_close(a.labels, b.labels, rtol=0, atol=0)


def test_evaluation_batches_beyond_the_budget_are_made_anew() -> None:
    made: list[int] = []

    def transform(pixels: torch.Tensor) -> torch.Tensor:
        made.append(1)
        return pixels

    batches = RememberedBatches(
        EvalBatches(Synthetic(images=20, size=8).open(), look_with(transform), batch_size=10), budget=3000
    )
    assert len(list(batches)) == len(list(batches)) == 2
    assert len(made) == 40


@pytest.mark.parametrize(("cpus", "processes", "workers"), [(1, 1, 0), (2, 1, 1), (16, 1, 15), (64, 1, 16), (64, 8, 7)])
def test_there_is_a_worker_on_every_core_but_one(cpus: int, processes: int, workers: int) -> None:
    assert choose_workers(cpus, processes) == workers


def test_pictures_that_may_be_decoded_smaller_stay_in_their_files(tmp_path: Path) -> None:
    for name, size in (("small", (90, 60)), ("large", (1200, 900))):
        (tmp_path / name).mkdir()
        picture(0, size).save(tmp_path / name / "one.jpg")
    files = Folder(root=tmp_path).open()
    full = cached(files, "ram", MAX_PIXELS)
    assert files.classes == ("large", "small")
    assert full.read(0) == files.read(0)
    assert isinstance(full.read(1), np.ndarray)


def test_larger_images_are_kept_at_the_size_asked_for_and_smaller_ones_as_they_are(tmp_path: Path) -> None:
    for name, size in (("small", (50, 30)), ("tall", (60, 90)), ("large", (1200, 900))):
        (tmp_path / name).mkdir()
        picture(0, size).save(tmp_path / name / "one.jpg")
    files = Folder(root=tmp_path).open()
    full, none = (cached(files, mode, MAX_PIXELS, short_side=40) for mode in ("auto", "none"))
    assert isinstance(full, Cached)
    assert [full.read(index).shape for index in range(3)] == [(40, 53, 3), (30, 50, 3), (60, 40, 3)]
    for index in range(3):
        assert torch.equal(to_pixels(full.read(index)), to_pixels(none.read(index)))


def test_large_pictures_are_not_read_at_all_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    for number in range(3):
        picture(number, (1200, 900)).save(tmp_path / "large" / f"{number}.jpg")
    files = Folder(root=tmp_path).open()
    assert cached(files, "auto", MAX_PIXELS) is files
    with pytest.raises(DataError, match="would keep none of these pictures"):
        cached(files, "ram", MAX_PIXELS)
    assert isinstance(cached(files, "ram", MAX_PIXELS, short_side=64), Cached)

"""Batches are the same for any number of workers and processes, from any step on."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.data.pictures import KINDS, Broken, Jitter, Suicidal, Whole, look_with
from vit_cli.data.bad import Bad
from vit_cli.data.batch import Batch
from vit_cli.data.decode import to_pixels
from vit_cli.data.loader import EvalBatches, TrainBatches
from vit_cli.data.order import Order
from vit_cli.data.samples import Samples
from vit_cli.data.synthetic import Synthetic
from vit_cli.errors import DataError
from vit_cli.section import Grid


def digest(batches: Iterable[Batch]) -> list[str]:
    hashes = []
    for batch in batches:
        parts = (batch.images, batch.labels, batch.indices, batch.epochs)
        hashes.append(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
    return hashes


def train(
    samples: Samples, steps: range = range(8), batch_size: int = 9, repeats: int = 1, **options: Any
) -> TrainBatches:
    return TrainBatches(samples, Order(len(samples), 3, batch_size, repeats), Jitter(), steps=steps, **options)


def join(parts: Iterable[Batch]) -> Batch:
    fields = [(part.images, part.labels, part.indices, part.epochs) for part in parts]
    return Batch(*(torch.cat(field) for field in zip(*fields, strict=True)))


@pytest.mark.parametrize("kind", KINDS)
def test_three_processes_together_make_the_batches_of_one(kind: str, open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind(kind)
    parts = [train(samples, repeats=2, rank=rank, size=3) for rank in range(3)]
    together = [join(batches) for batches in zip(*parts, strict=True)]
    assert digest(together) == digest(train(samples, repeats=2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_at_a_later_step_makes_the_same_batches(kind: str, open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind(kind)
    whole = digest(train(samples))
    assert digest(train(samples, range(5, 8))) == whole[5:]
    assert len(set(whole)) == 8


def check_workers(samples: Samples, workers: tuple[int, ...]) -> None:
    alone = digest(train(samples))
    evaluated = digest(EvalBatches(samples, look_with(crop), batch_size=10))
    for count, res in product(workers, (None, Grid(6, 6))):
        kept = list(train(samples, workers=count, res=res))
        assert digest(kept) == alone
        kept = list(EvalBatches(samples, look_with(crop), batch_size=10, workers=count, res=res))
        assert digest(kept) == evaluated


def crop(pixels: torch.Tensor) -> torch.Tensor:
    return pixels[:, :6, :6]


def test_workers_change_nothing(open_kind: Callable[[str], Samples]) -> None:
    check_workers(open_kind("folder"), (1,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_workers_change_nothing_for_any_source(kind: str, open_kind: Callable[[str], Samples]) -> None:
    check_workers(open_kind(kind), (1, 4))


@pytest.mark.parametrize("batch_size", [1, 13, 97, 200])
def test_odd_batches_of_97_images_show_each_once_in_an_epoch(batch_size: int) -> None:
    samples = Synthetic(images=97, size=6).open()
    batches = train(samples, range(-(-3 * 97 // batch_size)), batch_size)
    drawn = torch.cat([batch.indices for batch in batches])
    assert all(sorted(drawn[e * 97 : (e + 1) * 97].tolist()) == list(range(97)) for e in range(3))


def test_the_views_of_an_image_in_a_batch_differ() -> None:
    batch = next(iter(train(Synthetic(images=50, size=9).open(), batch_size=8, repeats=2)))
    assert batch.indices[:4].tolist() == batch.indices[4:].tolist()
    assert batch.epochs.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert all(not torch.equal(batch.images[i], batch.images[i + 4]) for i in range(4))


def test_loading_leaves_the_callers_randomness_alone() -> None:
    samples = Synthetic(images=20, size=8).open()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for _ in train(samples, range(2)):
        pass
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


@pytest.mark.case("I1", "I4")
def test_a_broken_image_is_replaced_by_one_with_its_own_label() -> None:
    base = Synthetic(classes=5, images=20, size=8).open()
    samples = Broken(base, {3: b"", 7: b"junk"})
    batches = list(TrainBatches(samples, Order(20, 0, 20), Whole(), steps=range(3)))
    for batch in batches:
        assert set(batch.bad) == {Bad(3, "image 3", "empty file"), Bad(7, "image 7", "not an image")}
        assert sorted(batch.indices.tolist()) == list(range(20))
        for index, label, image in zip(batch.indices.tolist(), batch.labels.tolist(), batch.images, strict=True):
            shown = [row for row in range(20) if torch.equal(to_pixels(base.read(row)), image)]
            assert base.labels[shown[0]] == label
            assert (shown[0] == index) == (index not in samples.broken)
    again = TrainBatches(samples, Order(20, 0, 20), Whole(), steps=range(3))
    assert digest(again) == digest(batches)


def as_it_is(pixels: torch.Tensor) -> torch.Tensor:
    return pixels


@pytest.mark.case("I17")
def test_an_endless_row_of_broken_images_is_an_error() -> None:
    samples = Broken(Synthetic(images=5, size=8).open(), dict.fromkeys(range(5), b""))
    with pytest.raises(DataError, match="in a row are broken"):
        next(iter(train(samples)))


@pytest.mark.case("I19")
def test_a_file_that_vanishes_is_a_broken_image(open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind("folder")
    batches = train(samples, range(5))
    for index in range(10):
        Path(samples.path(index).decode()).unlink()
    reasons = {bad.reason for batch in batches for bad in batch.bad}
    assert reasons == {"unreadable: No such file or directory"}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_evaluation_shows_every_image_once_over_all_processes(size: int) -> None:
    samples = Synthetic(images=97, size=6).open()
    parts = [list(EvalBatches(samples, look_with(crop), batch_size=10, rank=rank, size=size)) for rank in range(size)]
    seen = torch.cat([batch.indices for part in parts for batch in part])
    assert sorted(seen.tolist()) == list(range(97))
    assert sum(len(batch) for part in parts for batch in part) == 97
    for batch in parts[0]:
        np.testing.assert_array_equal(batch.labels, samples.labels[batch.indices])


@pytest.mark.case("I18")
def test_a_broken_image_stops_evaluation_and_is_named() -> None:
    samples = Broken(Synthetic(images=20, size=8).open(), {13: b"junk"})
    with pytest.raises(DataError, match="image 13 can't be evaluated: not an image"):
        list(EvalBatches(samples, look_with(crop), batch_size=5))


@pytest.mark.slow
def test_errors_of_data_come_whole_out_of_a_worker() -> None:
    samples = Broken(Synthetic(images=20, size=8).open(), {13: b"junk"})
    with pytest.raises(DataError) as error:
        list(EvalBatches(samples, look_with(crop), batch_size=5, workers=1))
    assert str(error.value) == (
        "image 13 can't be evaluated: not an image\n  mend or remove it; evaluation leaves no image out by itself"
    )


@pytest.mark.slow
def test_the_death_of_a_worker_is_an_error_of_data() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    samples = Suicidal(Synthetic(images=20, size=8).open(), {})
    with pytest.raises(DataError, match="a process that loads images died"):
        list(EvalBatches(samples, look_with(crop), batch_size=5, workers=1))
    assert signal.getsignal(signal.SIGCHLD) == before

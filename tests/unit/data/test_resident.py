"""Images in memory make the batches that workers would make from files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.data.pictures import write_folder
from vit_cli.augment.crops import RandomCrop, RandomResizedCrop
from vit_cli.augment.geometry import Flip
from vit_cli.augment.policies import RandAugment
from vit_cli.augment.preprocess import Preprocess
from vit_cli.augment.transforms import PhasedAugmentation, build_augmentation
from vit_cli.data import resident
from vit_cli.data.batch import Batch
from vit_cli.data.cache import cached
from vit_cli.data.decode import MAX_PIXELS
from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.loader import TrainBatches, change
from vit_cli.data.order import Order
from vit_cli.data.resident import ResidentBatches, find_resident
from vit_cli.data.samples import Samples, subset
from vit_cli.data.synthetic import Synthetic
from vit_cli.section import Grid

RES = Grid(12, 16)
AUGMENT = build_augmentation([RandomResizedCrop(), Flip(), RandAugment()], RES, Preprocess())


def open_samples(kind: str) -> Samples:
    if kind == "digits":
        return subset(Digits().open(), np.arange(90, 10, -1))
    return cached(Synthetic(images=70, size=(9, 14)).open(), "ram", MAX_PIXELS)


def resident_batches(samples: Samples, steps: range, batch_size: int = 9, **options: int) -> ResidentBatches:
    found = find_resident(samples)
    assert found is not None
    return ResidentBatches(
        samples, found, Order(len(samples), 3, batch_size, 2), AUGMENT, res=RES, steps=steps, **options
    )


def check_equal(ours: Iterable[Batch], expected: Iterable[Batch]) -> None:
    for one, other in zip(ours, expected, strict=True):
        for field in ("images", "labels", "indices", "epochs"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        assert one.images.is_contiguous()


@pytest.mark.parametrize("kind", ["digits", "cached"])
@pytest.mark.parametrize("rank", [None, 0, 1, 2])
def test_resident_batches_are_those_that_workers_make(kind: str, rank: int | None) -> None:
    samples, part = open_samples(kind), {} if rank is None else {"rank": rank, "size": 3}
    order = Order(len(samples), 3, 9, 2)
    expected = TrainBatches(samples, order, AUGMENT, steps=range(20), **part)
    check_equal(resident_batches(samples, range(20), **part), expected)


def test_a_start_at_a_later_step_makes_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = open_samples("digits")
    whole = list(resident_batches(samples, range(20)))
    monkeypatch.setattr(resident, "BLOCK_IMAGES", 30)  # three batches at a time
    check_equal(resident_batches(samples, range(7, 20)), whole[7:])


def test_workers_change_nothing() -> None:
    samples = open_samples("cached")
    check_equal(resident_batches(samples, range(20), workers=2), list(resident_batches(samples, range(20))))


def test_images_of_several_sizes_or_in_files_are_not_resident(tmp_path: Path) -> None:
    files = Folder(root=write_folder(tmp_path / "pictures", {"cat": 4, "dog": 4})).open()
    assert find_resident(files) is None
    assert find_resident(cached(files, "ram", MAX_PIXELS)) is None


def test_large_images_are_left_to_workers() -> None:
    assert find_resident(cached(Synthetic(images=3, size=96).open(), "ram", MAX_PIXELS)) is not None
    assert find_resident(cached(Synthetic(images=3, size=97).open(), "ram", MAX_PIXELS)) is None


def test_what_is_not_changed_yet_is_changed_later_to_the_same() -> None:
    samples = open_samples("cached")
    order, found = Order(len(samples), 3, 9), find_resident(samples)
    assert found is not None
    augmentation = build_augmentation([RandomCrop(), RandAugment()], Grid(12, 16), Preprocess())
    left = list(ResidentBatches(samples, found, order, augmentation, res=RES, steps=range(4), changes=False))
    done = list(ResidentBatches(samples, found, order, augmentation, res=RES, steps=range(4)))
    check_equal([change(batch, augmentation, seed=3) for batch in left], done)
    assert not torch.equal(left[0].images, done[0].images)


def test_small_images_for_a_large_model_are_made_few_at_a_time() -> None:
    samples = open_samples("digits")
    found = find_resident(samples)
    assert found is not None
    order = Order(len(samples), 3, 16)
    large = ResidentBatches(samples, found, order, AUGMENT, res=Grid(384, 384), steps=range(4))
    assert large.images_at_once * 3 * 384 * 384 <= resident.BLOCK_BYTES
    assert ResidentBatches(samples, found, order, AUGMENT, res=RES, steps=range(4)).images_at_once == 2048


SMALLER = build_augmentation([RandomResizedCrop(), Flip(), RandAugment()], Grid(6, 8), Preprocess())
PHASED = PhasedAugmentation(((4, SMALLER), (9, AUGMENT), (11, SMALLER), (20, AUGMENT)))
PLACES = [("whole", {}), ("first of three", {"rank": 0, "size": 3}), ("last of three", {"rank": 2, "size": 3})]


@pytest.mark.parametrize("changes", [True, False])
@pytest.mark.parametrize("place", [part for _, part in PLACES], ids=[name for name, _ in PLACES])
def test_a_block_that_holds_the_border_of_a_phase_is_made_in_both_sizes(
    place: dict[str, int], changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "BLOCK_IMAGES", 9 * 6)
    samples = open_samples("cached")
    order, found = Order(len(samples), 3, 9, 2), find_resident(samples)
    assert found is not None
    options = {"steps": range(1, 20), "changes": changes, **place}
    ours = list(ResidentBatches(samples, found, order, PHASED, res=RES, **options))
    assert [tuple(batch.images.shape[2:]) for batch in ours] == [(6, 8)] * 3 + [RES] * 5 + [(6, 8)] * 2 + [RES] * 9
    check_equal(ours, TrainBatches(samples, order, PHASED, **options))


def test_a_phase_changes_the_size_and_nothing_else() -> None:
    samples = open_samples("cached")
    order = Order(len(samples), 3, 9)
    phased, small, large = (
        list(TrainBatches(samples, order, augmentation, steps=range(12))) for augmentation in (PHASED, SMALLER, AUGMENT)
    )
    check_equal(phased, small[:4] + large[4:9] + small[9:11] + large[11:])


def test_workers_make_the_phases_of_their_steps() -> None:
    samples = open_samples("cached")
    order, found = Order(len(samples), 3, 9), find_resident(samples)
    assert found is not None
    expected = list(TrainBatches(samples, order, PHASED, steps=range(2, 14)))
    check_equal(TrainBatches(samples, order, PHASED, steps=range(2, 14), workers=2), expected)
    check_equal(ResidentBatches(samples, found, order, PHASED, res=RES, steps=range(2, 14), workers=2), expected)

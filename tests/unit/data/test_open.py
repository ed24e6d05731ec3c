"""Opening training and validation together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.pictures import write_folder
from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.open import open_evaluation, open_splits
from vit_cli.data.split import Parting
from vit_cli.data.summary import describe
from vit_cli.errors import DataError


@pytest.mark.case("S2")
def test_classes_come_from_training_and_are_matched_by_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"ant": 1, "bee": 1, "cat": 1})
    write_folder(tmp_path / "val", {"cat": 2, "bee": 1})
    splits = open_splits(Folder(root=tmp_path, split="train"), Folder(root=tmp_path, split="val"), Parting(0.2))
    assert splits.classes == splits.val.classes == ("ant", "bee", "cat")
    assert splits.val.labels.tolist() == [1, 2, 2]
    assert splits.held is None
    assert describe(splits) == f"3 train + 3 val images, 3 classes, folder {tmp_path}/train"


@pytest.mark.case("S2")
def test_a_class_that_only_validation_has_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"ant": 1, "bee": 1})
    write_folder(tmp_path / "val", {"ant": 1, "wasp": 1})
    with pytest.raises(DataError, match="wasp") as error:
        open_splits(Folder(root=tmp_path, split="train"), Folder(root=tmp_path, split="val"), Parting(0.2))
    assert error.value.exit_code == 3


def test_without_validation_a_part_is_held_out_and_stays_so() -> None:
    splits = open_splits(Digits(), None, Parting(0.2))
    assert describe(splits) == "1,438 train + 359 held-out images, 10 classes, digits (scikit-learn)"
    assert splits.held is not None
    again = open_splits(Digits(), None, Parting(0.5), dict(splits.held.thresholds), splits.classes)
    assert [again.val.key(i) for i in range(359)] == [splits.val.key(i) for i in range(359)]
    assert np.bincount(splits.val.labels).min() >= 34


def test_a_fold_that_a_checkpoint_knows_stays_and_its_line_tells_it() -> None:
    splits = open_splits(Digits(), None, Parting(0.2, fold=3, fraction=0.1))
    assert describe(splits) == (
        "145 train (10 % of each class) + 360 held-out images (fold 3), 10 classes, digits (scikit-learn)"
    )
    assert splits.held is not None
    held = json.loads(json.dumps(dict(splits.held.thresholds)))
    again = open_splits(Digits(), None, Parting(0.2), held)
    assert [again.val.key(i) for i in range(len(again.val))] == [splits.val.key(i) for i in range(len(splits.val))]


def test_one_class_can_not_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one class only: ant"):
        open_splits(Folder(root=write_folder(tmp_path, {"ant": 5})), None, Parting(0.2))


def test_one_image_of_every_class_leaves_nothing_to_hold_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image .* can be held out"):
        open_splits(Folder(root=write_folder(tmp_path, {"ant": 1, "bee": 1})), None, Parting(0.2))


def test_no_share_and_no_validation_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to validate on"):
        open_splits(Digits(), None, Parting(0.0))


def test_evaluation_uses_the_classes_of_the_model(tmp_path: Path) -> None:
    source = Folder(root=write_folder(tmp_path, {"bee": 2}))
    assert open_evaluation(source, ["ant", "bee"]).labels.tolist() == [1, 1]
    with pytest.raises(DataError, match="bee"):
        open_evaluation(source, ["ant", "wasp"])


def test_other_classes_bring_their_own_order_and_known_ones_their_thresholds(tmp_path: Path) -> None:
    source = Folder(root=write_folder(tmp_path, {"ant": 10, "bee": 10}))
    before = open_splits(source, None, Parting(0.2))
    assert before.held is not None
    write_folder(tmp_path / "add", {"aaa": 10})
    (tmp_path / "add/aaa").rename(tmp_path / "aaa")
    (tmp_path / "add").rmdir()
    after = open_splits(source, None, Parting(0.2), before.held.thresholds, ["bee", "ant"])
    assert after.classes == ("aaa", "ant", "bee")
    old = {after.val.key(i) for i in range(len(after.val))} - {
        f"aaa/{i:03d}.{e}" for i in range(10) for e in ("png", "JPG")
    }
    assert old == {before.val.key(i) for i in range(len(before.val))}
    assert len(after.val) == len(old) + 2

"""Opening training and validation together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import write_folder

from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.open import open_evaluation, open_splits
from vit_cli.data.summary import describe
from vit_cli.errors import DataError


def test_classes_come_from_training_and_are_matched_by_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"ant": 1, "bee": 1, "cat": 1})
    write_folder(tmp_path / "val", {"cat": 2, "bee": 1})
    splits = open_splits(Folder(root=tmp_path, split="train"), Folder(root=tmp_path, split="val"), 0.2)
    assert splits.classes == splits.val.classes == ("ant", "bee", "cat")
    assert splits.val.labels.tolist() == [1, 2, 2]
    assert splits.held is None
    assert describe(splits) == f"3 train + 3 val images, 3 classes, folder {tmp_path}/train"


def test_a_class_that_only_validation_has_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"ant": 1, "bee": 1})
    write_folder(tmp_path / "val", {"ant": 1, "wasp": 1})
    with pytest.raises(DataError, match="wasp") as error:
        open_splits(Folder(root=tmp_path, split="train"), Folder(root=tmp_path, split="val"), 0.2)
    assert error.value.exit_code == 3


def test_without_validation_a_part_is_held_out_and_stays_so() -> None:
    splits = open_splits(Digits(), None, 0.2)
    assert describe(splits) == "1,438 train + 359 held-out images, 10 classes, digits (scikit-learn)"
    assert splits.held is not None
    again = open_splits(Digits(), None, 0.5, dict(splits.held.thresholds), splits.classes)
    assert [again.val.key(i) for i in range(359)] == [splits.val.key(i) for i in range(359)]
    assert np.bincount(splits.val.labels).min() >= 34


def test_one_class_can_not_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one class only: ant"):
        open_splits(Folder(root=write_folder(tmp_path, {"ant": 5})), None, 0.2)


def test_one_image_of_every_class_leaves_nothing_to_hold_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image .* can be held out"):
        open_splits(Folder(root=write_folder(tmp_path, {"ant": 1, "bee": 1})), None, 0.2)


def test_no_share_and_no_validation_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to validate on"):
        open_splits(Digits(), None, 0.0)


def test_evaluation_uses_the_classes_of_the_model(tmp_path: Path) -> None:
    source = Folder(root=write_folder(tmp_path, {"bee": 2}))
    assert open_evaluation(source, ["ant", "bee"]).labels.tolist() == [1, 1]
    with pytest.raises(DataError, match="bee"):
        open_evaluation(source, ["ant", "wasp"])

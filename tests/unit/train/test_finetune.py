"""Fine-tuning on data that the command line names."""

from __future__ import annotations

from pathlib import Path

from tests.unit.data.pictures import write_folder
from tests.unit.evaluate.test_saved import folder_section, save
from vit_cli.train.finetune import load_finetuning

COUNTS = {"cat": 2, "dog": 2}


def test_fold_and_fraction_stay_with_their_own_images(tmp_path: Path) -> None:
    own, other = (write_folder(tmp_path / name / "train", COUNTS) for name in ("own", "other"))
    write_folder(tmp_path / "other/val", COUNTS)
    save(tmp_path / "model", {"train": folder_section(own), "fold": 1, "fraction": 0.5, "workers": 3})
    given = (own, other, other.parent)
    found = [load_finetuning(tmp_path / "model", "finetune", data=data).recipe.data for data in given]
    assert [(data.fold, data.fraction) for data in found] == [(1, 0.5), (0, 1.0), (0, 1.0)]
    assert [data.workers for data in found] == [3, 3, 3]


def test_validation_images_of_their_own_end_a_fold_and_no_fraction(tmp_path: Path) -> None:
    own = write_folder(tmp_path / "own/train", COUNTS)
    save(tmp_path / "model", {"train": folder_section(own.parent) | {"split": "train"}, "fold": 1, "fraction": 0.5})
    write_folder(tmp_path / "own/val", COUNTS)
    data = load_finetuning(tmp_path / "model", "finetune", data=own.parent).recipe.data
    assert data.val is not None
    assert (data.fold, data.fraction) == (0, 0.5)

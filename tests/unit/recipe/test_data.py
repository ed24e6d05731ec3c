"""The data that a path or a recipe means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.data.pictures import write_folder
from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.table import Table
from vit_cli.errors import DataError, RecipeError, UsageError
from vit_cli.recipe.data import load_data


def test_a_recipe_means_its_own_data_and_task() -> None:
    asked = load_data("digits_multilabel")
    assert (asked.data.train, asked.task) == (Digits(), "multilabel")
    assert load_data("digits", ["data.hold_out=0.5"]).data.hold_out == 0.5


def test_a_folder_means_what_it_means_for_data(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 1})
    write_folder(tmp_path / "val", {"cat": 1})
    asked = load_data(str(tmp_path))
    assert asked.data.train == Folder(root=tmp_path, split="train")
    assert asked.data.val == Folder(root=tmp_path, split="val")
    assert load_data(str(tmp_path / "train")).data.val is None


def test_a_folder_goes_before_a_shipped_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_data("digits").data.train == Digits()
    write_folder(tmp_path / "digits", {"cat": 1})
    assert load_data("digits").data.train == Folder(root=tmp_path / "digits")


def test_the_columns_of_a_table_and_the_task_are_changes(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("photo,grams\na.png,3\n")
    changes = ["data.train.image=photo", "data.train.target=grams", "task=regression"]
    asked = load_data(str(tmp_path / "labels.csv"), changes)
    assert asked.data.train == Table(file=tmp_path / "labels.csv", image="photo", target="grams")
    assert asked.task == "regression"


def test_a_validation_source_can_be_added_by_a_path_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "a", {"cat": 1})
    write_folder(tmp_path / "b", {"cat": 1})
    monkeypatch.chdir(tmp_path)
    assert load_data("a", ["data.val={name: folder, root: b}"]).data.val == Folder(root=tmp_path / "b")


def test_what_means_nothing_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1})
    with pytest.raises(DataError, match="not there"):
        load_data(str(tmp_path / "gone"))
    with pytest.raises(RecipeError, match="there is no file"):
        load_data(str(tmp_path / "gone.yaml"))
    with pytest.raises(RecipeError, match=r"command line +data\.train\.rot +unknown key; did you mean 'root'"):
        load_data(str(tmp_path), ["data.train.rot=x"])
    with pytest.raises(UsageError, match="without data of its own"):
        load_data("finetune")

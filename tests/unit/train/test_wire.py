"""What a run opens, given what the run before it held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.data.pictures import write_folder
from vit_cli.data.folder import Folder
from vit_cli.data.samples import Files
from vit_cli.recipe.load import load_recipe
from vit_cli.train.wire import open_data


def test_data_is_opened_once_and_keeps_the_order_of_equal_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    original = Folder.open

    def count(folder: Folder) -> Files:
        opened.append(folder.place)
        return original(folder)

    monkeypatch.setattr(Folder, "open", count)
    root = write_folder(tmp_path, {"ant": 10, "bee": 10})
    recipe = load_recipe("smoke", [f"data.train={{name: folder, root: {root}}}", "data.val=null"]).recipe
    splits, notes = open_data(recipe, None)
    assert splits.held is not None
    about = {"data": recipe.data.model_dump(mode="json"), "class_names": ["bee", "ant"]}
    again, more_notes = open_data(recipe, about | {"held": splits.held.thresholds})
    assert (opened, notes, more_notes) == ([root, root], [], [])
    assert (again.classes, again.held) == (("bee", "ant"), splits.held)
    assert open_data(recipe, about | {"held": None})[1] == ["held out anew: nothing was before"]
    assert open_data(recipe, about | {"held": None, "data": None})[1] == [], "foreign weights tell no data"


def test_another_task_says_that_other_images_are_held_out() -> None:
    digits = ["data.train={name: digits}", "data.val=null"]
    recipe = load_recipe("smoke", digits).recipe
    splits, _ = open_data(recipe, None)
    assert splits.held is not None
    about = {"data": recipe.data.model_dump(mode="json"), "class_names": splits.classes}
    about |= {"held": splits.held.thresholds}
    labels, targets = ["task=multilabel", "loss={name: binary_cross_entropy}"], ["task=regression", "loss={name: mse}"]
    several, notes = open_data(load_recipe("smoke", [*digits, *labels]).recipe, about)
    assert notes == ["held out anew: the task is another one"]
    assert several.held is not None
    about |= {"task": "multilabel", "class_names": several.classes, "held": several.held.thresholds}
    numbers, notes = open_data(load_recipe("smoke", [*digits, *targets]).recipe, about)
    assert (numbers.held, notes) == (several.held, [])

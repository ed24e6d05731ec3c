"""`vit inspect` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Run, is_refused
from tests.unit.inspect.tiny import write

ALL = ["filters", "positions", "distance", "attention", "rollout", "similarity", "features", "projection"]


def test_a_runs_pictures_are_drawn_into_its_folder_from_its_own_validation_images(vit: Run, recipe: Path) -> None:
    assert vit("train", recipe, "--out", "run", "-q").code == 0
    judged = json.loads(vit("eval", "run", "--json").out)["images"]
    done = vit("inspect", "run")
    assert done.code == 0
    drawn = ALL[:-1]
    assert all(name in done.out for name in drawn)
    assert f"pictures: {Path('run/inspect').absolute()}" in done.out
    assert f"no projection: run: a projection takes 8 images or more, not {judged}" in done.err
    names = {path.name for path in Path("run/inspect").iterdir()}
    assert names == {f"{name}.png" for name in drawn} | {"inspect.json"}
    again = vit("inspect", "run/model", "--only", "distance,attention", "--layer", 1, "--json")
    facts = json.loads(again.out)
    assert facts == json.loads(Path("run/inspect/inspect.json").read_text())
    assert (list(facts["pictures"]), facts["attention"]["layer"]) == (["distance", "attention"], 1)
    assert facts["images"] == judged
    assert len(facts["distance"]["outer"]["layers"]) == 2


def test_two_models_of_other_classes_and_sizes_are_drawn_beside_each_other(
    vit: Run, tmp_path: Path, photos: Path
) -> None:
    one, other = write(tmp_path / "one", "tnt"), write(tmp_path / "other", "deit", ["cat", "dog", "eel"])
    done = vit("inspect", one, "--against", other, "--data", photos, "--count", 9, "--only", "distance,projection")
    assert done.code == 0
    assert {path.name for path in (one / "inspect/against_other").iterdir()} == {
        "distance.png",
        "projection.png",
        "inspect.json",
    }
    numbers = json.loads((one / "inspect/against_other/inspect.json").read_text())
    assert [model["name"] for model in numbers["models"]] == ["tnt", "deit"]
    assert numbers["projection"][0]["groups"] == numbers["projection"][1]["groups"]


def test_what_cant_be_looked_at_is_told_in_one_message_and_writes_nothing(
    vit: Run, tmp_path: Path, photos: Path
) -> None:
    model, resnet = write(tmp_path / "model", "cls"), write(tmp_path / "resnet", "resnet")
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    assert is_refused(vit("inspect", model, photos / "red/000.jpg", broken), 3, "broken.jpg")
    assert is_refused(vit("inspect", model), 2, "no images to look at", "--data", "--only filters,positions")
    assert is_refused(vit("inspect", model, "--only", "filtres"), 2, "'filtres'", *ALL)
    assert is_refused(vit("inspect", resnet, photos, "--only", "rollout"), 2, "no attention", "It has filters")
    assert is_refused(vit("inspect", model, photos, "--layer", 9, "--only", "attention"), 2, "layers 1 to 2")
    assert is_refused(vit("inspect", model, photos, "--data", photos), 2, "Leave one of them out")
    assert is_refused(vit("inspect", model, photos, "--out", photos), 2, "not empty", "--overwrite")
    assert is_refused(vit("inspect", tmp_path / "absent", photos), 4, "absent")
    (tmp_path / "file").touch()
    assert is_refused(vit("inspect", model, photos, "--out", "file"), 2, "is a file")
    assert is_refused(vit("inspect", model, photos, "--out", "file/below"), 2, "can't be written")
    assert not list(tmp_path.rglob("*.png"))
    assert not list(tmp_path.rglob("inspect.json"))


def test_filters_and_positions_need_no_images(vit: Run, tmp_path: Path) -> None:
    model = write(tmp_path / "model", "gap", [])
    done = vit("inspect", model, "--only", "filters,positions", "--out", "pictures")
    assert done.code == 0
    assert {path.name for path in Path("pictures").iterdir()} == {"filters.png", "positions.png", "inspect.json"}


@pytest.mark.parametrize("kind", ["resnet", pytest.param("map", marks=pytest.mark.long)])
def test_a_model_without_classes_is_looked_into_too(vit: Run, tmp_path: Path, photos: Path, kind: str) -> None:
    model = write(tmp_path / "model", kind, [])
    assert vit("inspect", model, photos, "--count", 8, "--only", "features,projection").code == 0

"""Loading recipes: both sorts, changes, weights, and writing them back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vit_cli.errors import RecipeError, UsageError, VitError
from vit_cli.recipe.load import json_schema, load_any, load_finetune, load_recipe, to_yaml
from vit_cli.recipe.plan import make_plan
from vit_cli.recipe.yaml_reader import read_tree

WEIGHTS = Path("/runs/1/last.pt")


def base_of(*changes: str) -> dict[str, Any]:
    plain = load_recipe("smoke", changes).recipe.model_dump(mode="json")
    return {"model": plain["model"], "data": plain["data"]}


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text)
    return path


def test_what_is_loaded_keeps_the_text_and_is_frozen() -> None:
    loaded = load_recipe("smoke", ["seed=7"])
    assert loaded.recipe.seed == 7
    assert loaded.text == loaded.path.read_text()
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.path = Path()  # type: ignore[misc]


def test_data_paths_count_from_the_recipe_and_then_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (there / "a").mkdir(parents=True)
    (here / "a").mkdir(parents=True)
    (here / "b").mkdir()
    monkeypatch.chdir(here)
    path = write(there, to_yaml(load_recipe("smoke").recipe))
    for name, root in (("a", there / "a"), ("b", here / "b"), ("c", here / "c")):
        source = load_recipe(path, [f"data.train={{name: folder, root: {name}}}"]).recipe.data.train
        assert source.root == root
    resolved = load_recipe(path, ["data.train={name: folder, root: a}"]).recipe
    assert load_recipe(write(here, to_yaml(resolved))).recipe == resolved


def test_the_length_from_the_command_line_takes_the_place_of_the_files(tmp_path: Path) -> None:
    for name, change, other in (
        ("digits", "train.steps=3", "train.epochs=2"),
        ("smoke", "train.epochs=2", "train.steps=3"),
    ):
        recipe = load_recipe(name, [change]).recipe
        assert str(recipe.train.length) == ("3 steps" if "steps" in change else "2 epochs")
        assert load_recipe(write(tmp_path, to_yaml(recipe))).recipe == recipe
        with pytest.raises(RecipeError, match="give one of epochs and steps, not both"):
            load_recipe(name, [change, other])


def test_a_separator_is_for_several_labels(tmp_path: Path) -> None:
    table = 'data.train={name: table, file: t.csv, separator: "|"}'
    with pytest.raises(RecipeError, match=r"data\.train\.separator +is for task: multilabel"):
        load_recipe("smoke", [table])
    recipe = load_recipe("smoke", [table, "task=multilabel", "loss={name: binary_cross_entropy}"]).recipe
    assert load_recipe(write(tmp_path, to_yaml(recipe))).recipe == recipe


def test_changing_the_optimiser_by_name_keeps_what_fits() -> None:
    optim = load_recipe("smoke", ["optim.betas=[0.8,0.9]"]).recipe.optim
    assert optim.betas == (0.8, 0.9)
    optim = load_recipe("digits", ["optim.name=sgd"]).recipe.optim
    assert (optim.name, optim.lr) == ("sgd", 0.002)


def test_a_fine_tuning_recipe_is_not_for_train() -> None:
    with pytest.raises(RecipeError, match="fine-tuning recipe") as caught:
        load_recipe("finetune")
    assert caught.value.hint.startswith("Run: vit finetune")


def test_a_full_recipe_is_not_for_finetune(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="it has a model of its own") as caught:
        load_finetune("smoke", [], base_of(), WEIGHTS)
    assert caught.value.hint == "Run: vit train smoke"
    with pytest.raises(RecipeError, match="no section 'finetune'"):
        load_finetune(write(tmp_path, "seed: 1"), [], base_of(), WEIGHTS)


def test_the_weights_bring_model_and_data() -> None:
    base = base_of()
    recipe = load_finetune("finetune", ["model.res=384", "seed=3"], base, WEIGHTS).recipe
    assert recipe.finetune is not None
    assert recipe.finetune.weights == WEIGHTS
    assert (recipe.model.width, recipe.model.res, recipe.seed) == (64, 384, 3)
    assert recipe.data.model_dump(mode="json") == base["data"]
    assert base == base_of()


def test_the_recipes_own_data_go_first_unless_data_were_given(tmp_path: Path) -> None:
    text = read_tree(load_recipe("smoke").path.with_name("finetune.yaml")).text
    path = write(tmp_path, text + "data: {train: {name: digits}, workers: 3}\n")
    own = load_finetune(path, [], base_of(), WEIGHTS).recipe.data
    assert (own.train.name, own.workers) == ("digits", 3)
    given = load_finetune(path, [], base_of(), WEIGHTS, given_data=True).recipe.data
    assert (given.train.name, given.workers) == ("synthetic", 3)
    with pytest.raises(RecipeError, match=r"data\.train +missing"):
        load_finetune(path, ["data={}"], base_of(), WEIGHTS)


def test_a_model_that_does_not_fit_is_placed_where_it_came_from() -> None:
    base = base_of()
    base["model"]["res"] = 200
    with pytest.raises(RecipeError, match=r"from weights +model\.res +200 is not a multiple of patch 16"):
        load_finetune("finetune", [], base, WEIGHTS)


def test_a_resolved_fine_tuning_run_is_a_recipe_for_train(tmp_path: Path) -> None:
    recipe = load_finetune("finetune", [], base_of(), WEIGHTS).recipe
    assert load_recipe(write(tmp_path, to_yaml(recipe))).recipe == recipe


def test_a_malformed_change_is_an_error_of_usage() -> None:
    with pytest.raises(UsageError):
        load_recipe("smoke", ["seed"])


@pytest.mark.parametrize(
    "key",
    [
        "seed",
        "model",
        "model.res",
        "data.train",
        "data.mean",
        "augment",
        "augment.0",
        "loss.class_weights",
        "optim.name",
        "optim.betas",
        "schedule.warmup",
        "train.steps",
        "train.ema",
        "finetune",
        "zz.y",
    ],
)
@pytest.mark.parametrize(
    "value",
    [
        "null",
        "-1",
        "99999999999999999999",
        ".nan",
        "1e999",
        "x",
        "[]",
        "[[1]]",
        "{}",
        "{name: [1]}",
        "999999999999 epochs",
    ],
)
def test_whatever_a_change_says_only_plain_problems_come_out(key: str, value: str) -> None:
    problem = ""
    try:
        plan = make_plan(load_recipe("smoke", [f"{key}={value}"]).recipe, images=1000)
        assert plan.evaluates_at(plan.total_steps)
    except VitError as error:
        problem = str(error)
    assert "Input should" not in problem


def test_the_resolved_recipe_names_every_key(tmp_path: Path) -> None:
    recipe = load_recipe("smoke").recipe
    values = read_tree(write(tmp_path, to_yaml(recipe))).values
    assert values == recipe.model_dump(mode="json")
    assert list(values)[:4] == ["seed", "task", "model", "data"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("smoke", {"sed": 1}),
        ("smoke", {"seed": "1"}),
        ("smoke", {"optim": {"name": "adamv"}}),
        ("finetune", {"seed": -1}),
    ],
)
def test_the_json_schema_refuses_what_the_program_refuses(name: str, wrong: dict[str, Any]) -> None:
    values = read_tree(load_recipe("smoke").path.with_name(f"{name}.yaml")).values
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(json_schema())))
    assert validator.is_valid(values)
    assert not validator.is_valid(values | wrong)


def test_either_sort_can_be_checked_alone() -> None:
    assert type(load_any("smoke")).__name__ == "Recipe"
    assert type(load_any("finetune", ["seed=2"])).__name__ == "FinetuneRecipe"
    with pytest.raises(RecipeError, match=r"optim\.lr"):
        load_any("finetune", ["optim.lr=x"])

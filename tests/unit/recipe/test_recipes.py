"""The shipped recipes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from vit_cli.recipe.find import SCHEMA_LINE, SCHEMA_NAME, recipes_folder, shipped_recipes
from vit_cli.recipe.load import is_for_finetuning, json_schema, load_any, load_finetune, load_recipe, to_yaml
from vit_cli.recipe.plan import make_plan
from vit_cli.recipe.schema import Recipe
from vit_cli.recipe.yaml_reader import read_tree

SHIPPED = shipped_recipes()
IMAGES = 1_281_167


def load_complete(name: str, folder: Path | None = None) -> Recipe:
    """Load a recipe; a fine-tuning one with the model and the data of `smoke`."""
    if is_for_finetuning(read_tree(SHIPPED[name])):
        base = load_recipe("smoke").recipe.model_dump(mode="json")
        return load_finetune(name, [], {"model": base["model"], "data": base["data"]}, Path("/last.pt")).recipe
    return load_recipe(name).recipe


def test_all_recipes_are_there() -> None:
    assert set(SHIPPED) >= {
        "digits", "smoke", "cifar10_vit", "imagenet_vit_s16", "imagenet_vit_b16", "imagenet21k_vit_b16",
        "imagenet_deit_s16", "finetune", "finetune_sgd",
    }  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_resolved_recipe_reads_back_as_the_same(name: str, tmp_path: Path) -> None:
    recipe = load_complete(name)
    path = tmp_path / "resolved.yaml"
    path.write_text(to_yaml(recipe))
    assert load_recipe(path).recipe == recipe
    assert to_yaml(load_recipe(path).recipe) == to_yaml(recipe)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_works_out_on_1_and_8_processes(name: str) -> None:
    recipe = load_complete(name)
    assert make_plan(recipe, IMAGES, 8).process_batch * 8 == make_plan(recipe, IMAGES).process_batch


@pytest.mark.parametrize("name", SHIPPED)
def test_a_header_says_what_it_is_how_to_run_it_and_what_to_expect(name: str) -> None:
    lines = SHIPPED[name].read_text().splitlines()
    assert lines[0] == SCHEMA_LINE + SCHEMA_NAME
    assert lines[1].startswith("# ")
    command = "vit finetune" if name.startswith("finetune") else f"vit train {name}"
    assert lines[2].startswith(f"# Run:    {command}")
    expect = next(line for line in lines if line.startswith("# Expect:"))
    assert "published" in expect or "measured" in expect or name == "smoke"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_fits_the_schema_that_editors_use(name: str) -> None:
    load_any(name)
    schema = json.loads((recipes_folder() / SCHEMA_NAME).read_text())
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(read_tree(SHIPPED[name]).values)) == []


def test_the_schema_that_editors_use_is_current() -> None:
    shipped = json.loads((recipes_folder() / SCHEMA_NAME).read_text())
    assert shipped == json.loads(json.dumps(json_schema())), "vit recipe schema > recipes/recipe.schema.json"

"""Load a recipe: read it, change it, validate it, check it; and write it back with every default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from vit_cli.errors import RecipeError
from vit_cli.recipe.changes import apply_changes
from vit_cli.recipe.check import LOSSES, check
from vit_cli.recipe.explain import explain
from vit_cli.recipe.find import find_recipe
from vit_cli.recipe.problems import refuse
from vit_cli.recipe.schema import FinetuneRecipe, Recipe
from vit_cli.recipe.yaml_reader import Tree, read_tree
from vit_cli.recipe.yaml_writer import write_yaml

R = TypeVar("R", Recipe, FinetuneRecipe)
FROM_WEIGHTS = "from weights"
PREPARATION = {"data": ("mean", "std"), "eval": ("crop", "resize", "interpolation")}
"""What weights say about the images that they were made for."""
FIRST_KEYS = ("name", "seed", "task", "model", "data")
"""What stands first in a resolved recipe and its sections; the rest follows in the schema's order."""


@dataclass(frozen=True)
class Loaded:
    """A valid recipe, with the file it was read from, what was written there after all changes, and the file's text."""

    recipe: Recipe
    path: Path
    tree: Tree
    text: str


def load_recipe(name_or_path: str | Path, changes: Iterable[str] = ()) -> Loaded:
    """Load a recipe for `vit train`, by name or path, with `key=value` changes.

    Raises RecipeError with all problems at once, or if it is a fine-tuning recipe; UsageError for malformed changes.
    """
    path = find_recipe(name_or_path)
    tree = apply_changes(read_tree(path), changes, Recipe)
    if is_for_finetuning(tree):
        raise RecipeError(
            f"{tree.name} is a fine-tuning recipe: its model comes from a run or from weights",
            f"Run: vit finetune RUN_OR_CHECKPOINT --recipe {name_or_path}",
        )
    return Loaded(validate(tree, Recipe, path), path, tree, tree.text)


def load_finetune(
    name_or_path: str | Path,
    changes: Iterable[str],
    base: Mapping[str, Any],
    weights: Path,
    given_data: bool = False,
) -> Loaded:
    """Load a fine-tuning recipe for `weights`, completed by plain `model`, `data`, `augment`, `eval` of `base`, then changed.

    The task is that of `base` too where the recipe says none, and the loss where the recipe's is for another task.
    What the recipe says itself goes before `base`, whose sources of data go first with `given_data`. Where it says nothing
    of mean and std, they are those of `base`: weights want the numbers that they have learned from.
    Raises RecipeError with all problems at once, or if it is a full recipe; UsageError for malformed changes.
    """
    path = find_recipe(name_or_path)
    tree = read_tree(path)
    if not is_for_finetuning(tree):
        what = "it has a model of its own" if "model" in tree.values else "it has no section 'finetune'"
        raise RecipeError(f"{tree.name} is no fine-tuning recipe: {what}", f"Run: vit train {name_or_path}")
    tree = apply_changes(complete(tree, base, weights, given_data), changes, Recipe)
    return Loaded(validate(tree, Recipe, path), path, tree, tree.text)


def load_any(name_or_path: str | Path, changes: Iterable[str] = ()) -> Recipe | FinetuneRecipe:
    """Load a recipe of either sort, the fine-tuning one without weights; errors as in `load_recipe`."""
    path = find_recipe(name_or_path)
    tree = read_tree(path)
    if is_for_finetuning(tree):
        return validate(apply_changes(tree, changes, FinetuneRecipe), FinetuneRecipe, path)
    return validate(apply_changes(tree, changes, Recipe), Recipe, path)


def is_for_finetuning(tree: Tree) -> bool:
    """Tell a fine-tuning recipe: it says how to fine-tune, and has no model of its own."""
    return tree.values.get("finetune") is not None and "model" not in tree.values


def complete(tree: Tree, base: Mapping[str, Any], weights: Path, given_data: bool) -> Tree:
    """Add to a fine-tuning recipe what comes with the weights."""
    added: dict[str, Mapping[str, Any]] = {"finetune": {"weights": str(weights)}, "model": base["model"]}
    if "data" in base and tree.values.get("data") is None:
        added["data"] = base["data"]
    elif given_data:
        added["data"] = {key: base["data"][key] for key in ("train", "val")}
    values, places = dict(tree.values), dict(tree.places)
    if "augment" in base and "augment" not in values:
        values["augment"], places[("augment",)] = base["augment"], FROM_WEIGHTS
    if "task" in base and "task" not in values:
        values["task"], places[("task",)] = base["task"], FROM_WEIGHTS
        loss = values.get("loss")
        if "loss" in base and isinstance(loss, dict) and loss.get("name") not in LOSSES.get(base["task"], ()):
            values["loss"], places[("loss",)] = base["loss"], FROM_WEIGHTS
    for key, names in PREPARATION.items():
        own = values.get(key) or {}
        lacking = {name: base[key][name] for name in names if name in base.get(key, {}) and name not in own}
        if lacking and isinstance(own, dict):
            added[key] = {**added.get(key, {}), **lacking}
    for key, section in added.items():
        own = values.get(key)
        values[key] = {**(own if isinstance(own, dict) else {}), **section}
        places |= dict.fromkeys(((key, name) for name in section), FROM_WEIGHTS)
        places.setdefault((key,), FROM_WEIGHTS)
    return replace(tree, values=values, places=places)


def validate(tree: Tree, root: type[R], path: Path) -> R:
    """Validate what was read, relative paths counting from the recipe's folder; RecipeError lists all problems."""
    values = add_loss(tree.values)
    try:
        recipe = root.model_validate_json(json.dumps(values), strict=True, context={"base": path.parent})
    except ValidationError as error:
        problems = explain(error, root, values)
    else:
        problems = check(recipe)
        if not problems:
            return recipe
    raise refuse(tree.name, [(tree.place(problem.path), problem) for problem in problems])


def add_loss(values: dict[str, Any]) -> dict[str, Any]:
    """Where no loss is chosen, take the first of those for the task."""
    task = values.get("task")
    if "loss" in values or task == "classification" or not isinstance(task, str) or task not in LOSSES:
        return values
    return values | {"loss": {"name": LOSSES[task][0]}}


def to_yaml(recipe: Recipe | FinetuneRecipe) -> str:
    """Write a recipe with every default filled in; reading it again gives an equal recipe."""
    return write_yaml(put_first(FIRST_KEYS, recipe.model_dump(mode="json")))


def put_first(keys: tuple[str, ...], value: Any) -> Any:
    """Copy plain values with some keys in front, wherever they are."""
    if isinstance(value, list):
        return [put_first(keys, item) for item in value]
    if not isinstance(value, dict):
        return value
    ordered = [key for key in keys if key in value] + [key for key in value if key not in keys]
    return {key: put_first(keys, value[key]) for key in ordered}


def json_schema() -> dict[str, Any]:
    """Give the JSON schema of recipes, for editors: of fine-tuning ones where there is `finetune` and no `model`."""
    schema = TypeAdapter(Recipe | FinetuneRecipe).json_schema()
    full, finetune = schema.pop("anyOf")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of vit",
        "if": {"required": ["finetune"], "not": {"required": ["model"]}},
        "then": finetune,
        "else": full,
        **schema,
    }

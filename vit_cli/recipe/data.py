"""The data that a path or a recipe means, with changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from vit_cli.data.source import source_from_path
from vit_cli.errors import UsageError
from vit_cli.recipe.changes import apply_changes
from vit_cli.recipe.explain import explain
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import load_any
from vit_cli.recipe.problems import refuse
from vit_cli.recipe.schema import Data
from vit_cli.recipe.yaml_reader import Tree
from vit_cli.section import Section, TaskName


class DataRecipe(Section):
    """What a recipe says about its data, and what is asked about an image."""

    task: TaskName = "classification"
    data: Data


def load_data(name_or_path: str, changes: Iterable[str] = ()) -> DataRecipe:
    """Give the data of a recipe (a shipped name, or a .yaml file), or of a folder or file as `--data` takes it, changed.

    What is there by a shipped recipe's name goes before the recipe.
    Raises DataError for a path that holds no data, RecipeError or UsageError for what does not fit.
    """
    path = Path(name_or_path).expanduser()
    is_shipped = name_or_path in shipped_recipes() and not path.exists()
    if is_shipped or path.suffix in (".yaml", ".yml"):
        recipe = load_any(name_or_path, changes)
        if recipe.data is None:
            raise UsageError(
                f"{name_or_path} is a fine-tuning recipe without data of its own", "Name a folder of images instead."
            )
        return DataRecipe(task=recipe.task, data=recipe.data)
    train, val = source_from_path(path)
    tree = apply_changes(Tree(name_or_path, {"data": {"train": train, "val": val}}), changes, DataRecipe)
    try:
        return DataRecipe.model_validate_json(json.dumps(tree.values), strict=True, context={"base": Path.cwd()})
    except ValidationError as error:
        problems = explain(error, DataRecipe, tree.values)
    raise refuse(tree.name, [(tree.place(problem.path), problem) for problem in problems])

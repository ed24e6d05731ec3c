"""`vit recipe`: list, show, copy and check recipes, and print their schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")

Name = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a path.")]
Changes = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as optim.lr=3e-4.")]


@app.command("list")
def list_recipes() -> None:
    """List the shipped recipes."""
    from vit_cli.cli.console import show_table
    from vit_cli.recipe.find import read_title, shipped_recipes

    recipes = shipped_recipes().items()
    show_table(["recipe", "what"], [[name, read_title(path.read_text(encoding="utf-8"))] for name, path in recipes])


@app.command(epilog="Example: vit recipe show digits --resolved")
def show(
    recipe: Name,
    changes: Changes = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="With changes and every default filled in.")] = False,
) -> None:
    """Print a recipe."""
    from vit_cli.cli.console import show_result
    from vit_cli.errors import UsageError

    if resolved:
        from vit_cli.recipe.load import load_any, to_yaml

        show_result(to_yaml(load_any(recipe, changes or ())).rstrip())
        return
    from vit_cli.recipe.find import find_recipe
    from vit_cli.recipe.yaml_reader import read_text

    if changes:
        raise UsageError("changes show in the resolved recipe only", "Add --resolved.")
    show_result(read_text(find_recipe(recipe), recipe).rstrip())


@app.command(epilog="Example: vit recipe copy digits my.yaml")
def copy(
    recipe: Name,
    to: Annotated[Path | None, typer.Argument(metavar="[DEST]", help="A file or folder; here if left out.")] = None,
) -> None:
    """Copy a recipe, to be edited; an existing file is left alone."""
    from vit_cli.cli.console import show_result
    from vit_cli.errors import UsageError
    from vit_cli.recipe.find import copy_text, find_recipe

    source = find_recipe(recipe)
    target = to or Path(source.name)
    target = target / source.name if target.is_dir() else target
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(copy_text(source))
    except FileExistsError as error:
        raise UsageError(f"{target} is there already", "Name another file.") from error
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror}") from error
    show_result(str(target))


@app.command(epilog="Example: vit recipe check my.yaml optim.lr=3e-4")
def check(recipe: Name, changes: Changes = None) -> None:
    """Read a recipe and name all its problems, or say in short what it is."""
    from vit_cli.cli.console import show_result
    from vit_cli.cli.layout import format_facts
    from vit_cli.recipe.load import load_any
    from vit_cli.recipe.summary import summarise

    show_result(format_facts(summarise(load_any(recipe, changes or ()))))


@app.command(epilog="Example: vit recipe schema > recipe.schema.json")
def schema() -> None:
    """Print the JSON schema of recipes, for editors and other programs."""
    from vit_cli.cli.console import show_json
    from vit_cli.recipe.load import json_schema

    show_json(json_schema())

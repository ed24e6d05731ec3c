"""Find recipes: those that are shipped, by name, and any others by path."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

import vit_cli
from vit_cli.errors import RecipeError

SCHEMA_NAME: Final = "recipe.schema.json"
SCHEMA_LINE: Final = "# yaml-language-server: $schema="


def recipes_folder() -> Path:
    """Give the folder of the shipped recipes: inside the installed package, or beside it in a checkout."""
    package = Path(vit_cli.__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Give the shipped recipes by name."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(name_or_path: str | Path) -> Path:
    """Give the path of a shipped recipe or of a file; RecipeError with the nearest name if there is neither."""
    shipped = shipped_recipes()
    text = str(name_or_path)
    if text in shipped:
        return shipped[text]
    path = Path(text).expanduser()
    if path.is_dir():
        raise RecipeError(f"{path} is a folder, not a recipe")
    if path.exists():
        return path
    near = difflib.get_close_matches(path.name.removesuffix(path.suffix), shipped, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    what = "there is no file" if path.suffix in (".yaml", ".yml") else "there is no recipe and no file"
    raise RecipeError(f"{what} {text}", f"{hint}Shipped recipes: {', '.join(shipped)}.")


def read_title(text: str) -> str:
    """Give the first line of a recipe's header, without the line for editors."""
    comments = (line.removeprefix("#").strip() for line in text.splitlines() if not line.startswith(SCHEMA_LINE))
    return next(comments, "")


def copy_text(path: Path) -> str:
    """Give a recipe's text for another folder: editors find the schema where it is installed."""
    text = path.read_text(encoding="utf-8")
    return text.replace(SCHEMA_LINE + SCHEMA_NAME, SCHEMA_LINE + str(recipes_folder() / SCHEMA_NAME), 1)

"""Problems of a recipe, and the one message that shows them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vit_cli.errors import RecipeError

Key = str | int
KeyPath = tuple[Key, ...]
Place = int | str
"""Where a value was written: a line of the recipe, or words such as "command line"."""


class Problem(NamedTuple):
    """What is wrong with the value at `path`."""

    path: KeyPath
    message: str


def dotted(path: KeyPath) -> str:
    """Write ("augment", 0, "scale") as "augment.0.scale"."""
    return ".".join(map(str, path))


def refuse(name: str, placed: Iterable[tuple[Place | None, Problem]]) -> RecipeError:
    """Make one error of all problems of the recipe called `name`, in the order of their lines and in columns."""
    ordered = sorted(set(placed), key=sort_key)
    rows = [(show_place(name, place), dotted(problem.path), problem.message) for place, problem in ordered]
    wheres, keys = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [
        "  ".join(part for part in (f"{where:{wheres}}", f"{key:{keys}}", message) if part)
        for where, key, message in rows
    ]
    count = f"{len(rows)} problem" + ("" if len(rows) == 1 else "s")
    return RecipeError("\n  ".join([f"{name} has {count}", *lines]))


def show_place(name: str, place: Place | None) -> str:
    """Write line 7 of a recipe as "my.yaml:7"; another place stands for itself."""
    if place is None:
        return name
    return f"{name}:{place}" if isinstance(place, int) else place


def sort_key(placed: tuple[Place | None, Problem]) -> tuple[bool, int, str, str]:
    """Order by line; what was not written in the recipe comes last."""
    place, problem = placed
    return isinstance(place, str), place if isinstance(place, int) else 0, dotted(problem.path), problem.message

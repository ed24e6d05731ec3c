"""Read what configs tell: numbers, sizes, and the resolution that goes with a table of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vit_cli.errors import CheckpointError
from vit_cli.models.weights.shapes import side_of
from vit_cli.section import Grid

MOST = 2**20
"""More than any count in a config is."""


def read_count(config: Mapping[str, Any], key: str) -> int | None:
    """Read a whole number above 0; None if the config is silent. Raises CheckpointError for anything else."""
    value = config.get(key)
    if value is not None and (type(value) is not int or not 0 < value < MOST):
        raise CheckpointError(f"config.json: {key} is {value!r:.40}, expected a whole number above 0")
    return value


def read_number(config: Mapping[str, Any], key: str, default: float) -> float:
    """Read a number above 0; `default` if the config is silent. Raises CheckpointError for anything else."""
    value = config.get(key)
    if value is None:
        return default
    if type(value) not in (int, float) or not 0 < value < MOST:
        raise CheckpointError(f"config: {key} is {value!r:.40}, expected a number above 0")
    return float(value)


def read_colours(config: Mapping[str, Any], key: str, default: Sequence[float]) -> list[float]:
    """Read a number each for red, green and blue; `default` if the config is silent. Raises CheckpointError for anything else."""
    value = config.get(key)
    if value is None:
        return list(default)
    if not isinstance(value, list) or len(value) != 3 or any(type(number) not in (int, float) for number in value):
        raise CheckpointError(f"config: {key} is {value!r:.60}, expected three numbers")
    return [float(number) for number in value]


def read_size(value: Any) -> Grid | None:
    """Read a size: one number, [rows, columns], or a mapping with height and width or shortest_edge; None for others."""
    if isinstance(value, Mapping):
        value = value.get("shortest_edge") or [value.get("height"), value.get("width")]
    sides = [value, value] if isinstance(value, int) else value
    is_grid = isinstance(sides, Sequence) and len(sides) == 2 and all(type(n) is int and n > 0 for n in sides)
    return Grid(*sides) if is_grid else None


def tell_res(told: Grid | None, pixels: int, positions: int, name: str) -> dict[str, Any]:
    """Give the key `res` for a table of `positions` patches of `pixels`: that of a config if it fits, else a square one.

    Raises CheckpointError if neither fits.
    """
    if told is not None and (told.rows // pixels) * (told.columns // pixels) == positions:
        grid = Grid(told.rows // pixels, told.columns // pixels)
    else:
        grid = Grid(*[side_of(positions, name)] * 2)
    rows, columns = grid.rows * pixels, grid.columns * pixels
    return {"res": rows if rows == columns else [rows, columns]}

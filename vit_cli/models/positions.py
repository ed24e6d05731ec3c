"""Positional embeddings: learned tables, fixed sines and cosines, and stretching a table to another grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vit_cli.section import Grid, Section


class Stretch(Section):
    """How a table of positions is stretched: bicubic without align-corners is DeiT's way, bilinear with it is Google's.

    With `offset` 0.1 it is that of DINO, which places the new grid as if it were longer by so much of a row and a column.
    """

    mode: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = False
    align_corners: bool = False
    offset: float = Field(
        0.0, ge=0, lt=1, description="added to the new rows and columns where they are placed; DINO: 0.1"
    )

    @model_validator(mode="after")
    def has_one_placing(self) -> Stretch:
        if self.offset and self.align_corners:
            raise ValueError("an offset means nothing with align_corners; leave one of them out")
        return self

    def __str__(self) -> str:
        extras = [word for word in ("antialias", "align_corners") if getattr(self, word)]
        extras += [f"offset {self.offset:g}"] if self.offset else []
        return " + ".join([self.mode, *extras]).replace("_", " ")


DEFAULT = Stretch()


def resize_positions(table: Tensor, source: Grid, target: Grid, stretch: Stretch) -> Tensor:
    """Stretch a grid of positional embeddings to another grid (ViT, section 3.2; bicubic as in DeiT).

    `table` is (..., source.rows * source.columns, d), without prefix tokens; the result has target.rows * target.columns
    in that place and the same dtype, worked out in float32. Equal grids return `table` unchanged. Raises ValueError if
    `table` does not hold `source`.
    """
    if table.shape[-2] != source.rows * source.columns:
        raise ValueError(f"a table of {table.shape[-2]} positions does not hold a {source} grid.")
    if source == target:
        return table
    factors = [(new + stretch.offset) / old for new, old in zip(target, source, strict=True)]
    grid = F.interpolate(
        table.float().reshape(-1, *source, table.shape[-1]).permute(0, 3, 1, 2),
        size=None if stretch.offset else tuple(target),
        scale_factor=factors if stretch.offset else None,
        mode=stretch.mode,
        antialias=stretch.antialias,
        align_corners=stretch.align_corners,
    )
    return grid.permute(0, 2, 3, 1).reshape(*table.shape[:-2], target.rows * target.columns, -1).to(table.dtype)


def sincos2d(grid: Grid, width: int) -> Tensor:
    """Fixed embeddings (1, rows * columns, width): sines and cosines of x, then of y (big_vision, models/vit.py).

    Raises ValueError unless `width` is a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"sincos2d positions need a width that is a multiple of 4, not {width}.")
    y, x = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij")
    steps = torch.arange(width // 4, dtype=torch.float64) / max(width // 4 - 1, 1)
    omega = 10_000.0**-steps
    x, y = (axis.flatten().to(torch.float64)[:, None] * omega for axis in (x, y))
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1).float()[None]


def stretch_on_the_way(vectors: Tensor, source: Grid, target: Grid) -> Tensor:
    """Stretch (1, source.rows * source.columns, d) as `resize_positions` does by default, in every pass through a model.

    By a matrix product for each axis: on a GPU the gradient of an interpolation is another one in every run.
    """
    if source == target:
        return vectors
    rows, columns = (
        resize_positions(torch.eye(old, device=vectors.device), Grid(old, 1), Grid(new, 1), DEFAULT)
        for old, new in zip(source, target, strict=True)
    )
    with torch.autocast(vectors.device.type, enabled=False):
        lines = (rows @ vectors.reshape(source.rows, -1)).reshape(target.rows, source.columns, -1)
        return (columns @ lines).reshape(1, target.rows * target.columns, -1)


class Positions(nn.Module):
    """Add a vector to each patch, and one to each of the first prefix tokens that has a `prefix` (1, k, d)."""

    grid: Grid
    prefix: Tensor | None

    @abstractmethod
    def vectors(self) -> Tensor:
        """Give one vector for each patch (1, rows * columns, d), row by row."""

    def forward(self, tokens: Tensor, grid: Grid | None = None) -> Tensor:
        """Tokens (b, p + n, d), the last n of them patches -> the same with their positions, stretched to `grid`."""
        vectors = stretch_on_the_way(self.vectors(), self.grid, grid or self.grid)
        spare = tokens.shape[1] - vectors.shape[1]
        if self.prefix is not None:
            spare -= self.prefix.shape[1]
        vectors = F.pad(vectors, (0, 0, spare, 0)) if spare else vectors
        return tokens + (vectors if self.prefix is None else torch.cat([self.prefix, vectors], dim=1))


class LearnedPositions(Positions):
    """One learned vector for each patch, and one for each of the first `prefix` tokens before them."""

    def __init__(self, grid: Grid, prefix: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.zeros(1, grid.rows * grid.columns, width))
        self.prefix = nn.Parameter(torch.zeros(1, prefix, width)) if prefix else None

    def vectors(self) -> Tensor:
        """Give one vector for each patch (1, rows * columns, d), row by row."""
        return self.table


class Learned2dPositions(Positions):
    """A learned half vector for each column, then one for each row, side by side (ViT, appendix D.4)."""

    def __init__(self, grid: Grid, prefix: int, width: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"learned2d positions need an even width, not {width}.")
        self.grid = grid
        self.rows = nn.Parameter(torch.zeros(1, grid.rows, width // 2))
        self.columns = nn.Parameter(torch.zeros(1, grid.columns, width // 2))
        self.prefix = nn.Parameter(torch.zeros(1, prefix, width)) if prefix else None

    def vectors(self) -> Tensor:
        """Give one vector for each patch (1, rows * columns, d), row by row."""
        rows, columns = self.rows.shape[1], self.columns.shape[1]
        halves = self.columns.repeat(1, rows, 1), self.rows.repeat_interleave(columns, dim=1)
        return torch.cat(halves, dim=2)


class FixedPositions(Positions):
    """sincos2d for patches, nothing for prefix tokens; not a part of the weights, so any grid is exact."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("table", sincos2d(grid, width), persistent=False)
        self.prefix = None

    def vectors(self) -> Tensor:
        """Give one vector for each patch (1, rows * columns, d), row by row."""
        return self.table


class NoPositions(nn.Module):
    """Add nothing."""

    def forward(self, tokens: Tensor, grid: Grid | None = None) -> Tensor:  # noqa: ARG002
        """Give the tokens back."""
        return tokens


class PositionsOfBlocks(nn.Module):
    """Positions of their own before each block."""

    def __init__(self, tables: Sequence[Positions]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(tables)

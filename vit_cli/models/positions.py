"""Positional embeddings: learned tables, fixed sines and cosines, and stretching a table to another grid."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.section import Grid, Section


class Stretch(Section):
    """How a table of positions is stretched: bicubic without align-corners is DeiT's way, bilinear with it is Google's."""

    mode: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = False
    align_corners: bool = False

    def __str__(self) -> str:
        extras = [word for word in ("antialias", "align_corners") if getattr(self, word)]
        return " + ".join([self.mode, *extras]).replace("_", " ")


def resize_positions(table: Tensor, source: Grid, target: Grid, stretch: Stretch) -> Tensor:
    """Stretch a grid of positional embeddings to another grid (ViT, section 3.2; bicubic as in DeiT).

    `table` is (1, source.rows * source.columns, d), without prefix tokens; the result is (1, target.rows * target.columns, d)
    in the same dtype, worked out in float32. Equal grids return `table` unchanged. Raises ValueError if `table` does not
    hold `source`.
    """
    if table.shape[1] != source.rows * source.columns:
        raise ValueError(f"a table of {table.shape[1]} positions does not hold a {source} grid.")
    if source == target:
        return table
    grid = table.float().reshape(1, source.rows, source.columns, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(
        grid,
        size=tuple(target),
        mode=stretch.mode,
        antialias=stretch.antialias,
        align_corners=stretch.align_corners,
    )
    return grid.permute(0, 2, 3, 1).reshape(1, target.rows * target.columns, -1).to(table.dtype)


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


class LearnedPositions(nn.Module):
    """One learned vector for each patch, and one for each prefix token."""

    def __init__(self, grid: Grid, prefix: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, grid.rows * grid.columns, width))
        self.prefix = nn.Parameter(torch.zeros(1, prefix, width)) if prefix else None

    def forward(self, patches: Tensor, prefix: Tensor | None) -> Tensor:
        """(b, n, d) and (1, p, d) -> (b, p + n, d)."""
        patches = patches + self.table
        if prefix is None or self.prefix is None:
            return patches
        return torch.cat([(prefix + self.prefix).expand(len(patches), -1, -1), patches], dim=1)


class FixedPositions(nn.Module):
    """sincos2d for patches, nothing for prefix tokens; not a part of the weights, so any grid is exact."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.register_buffer("table", sincos2d(grid, width), persistent=False)

    def forward(self, patches: Tensor, prefix: Tensor | None) -> Tensor:
        """(b, n, d) and (1, p, d) -> (b, p + n, d)."""
        return join(patches + self.table, prefix)


class NoPositions(nn.Module):
    """The transformer sees a set of patches."""

    def forward(self, patches: Tensor, prefix: Tensor | None) -> Tensor:
        """(b, n, d) and (1, p, d) -> (b, p + n, d)."""
        return join(patches, prefix)


def join(patches: Tensor, prefix: Tensor | None) -> Tensor:
    """Put prefix tokens (1, p, d) in front of patches (b, n, d)."""
    return patches if prefix is None else torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1)

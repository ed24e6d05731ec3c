"""Positions as rotations of queries and keys, in two dimensions (RoPE; DINOv3, layers/rope_position_encoding.py)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.section import Grid


class Rope(nn.Module):
    """Rotations of queries and keys by angles that grow with a patch's row, in one half of a head, and its column, in the other.

    Places run from -1 to 1 whatever the grid, and nothing is learned, so weights fit any grid. Prefix tokens are not turned.
    Raises ValueError unless `head_width` is a multiple of 4.
    """

    def __init__(self, grid: Grid, prefix: int, head_width: int, base: float = 100.0) -> None:
        super().__init__()
        if head_width % 4:
            raise ValueError(f"rope needs heads whose width is a multiple of 4, not {head_width}.")
        self.grid, self.prefix, self.head_width, self.base = grid, prefix, head_width, base
        self.register_buffer("turns", self.work_out(grid), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        """Give the cosine, then the sine of each angle (1, prefix + rows * columns, 2 * head width) for a grid of patches."""
        return self.turns if grid == self.grid else self.work_out(grid, self.turns.device)

    def work_out(self, grid: Grid, device: torch.device | None = None) -> Tensor:
        """Work out what `forward` gives."""
        count = self.head_width // 4
        exact = {"dtype": torch.float64, "device": device}
        periods = self.base ** (torch.arange(count, **exact) / count)
        sides = [(torch.arange(side, **exact) + 0.5) / side * 2 - 1 for side in grid]
        places = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).reshape(-1, 2, 1)
        angles = (2 * math.pi * places / periods).flatten(1).tile(2)  # (rows * columns, head_width)
        angles = F.pad(angles, (0, 0, self.prefix, 0)).float()
        return torch.cat([angles.cos(), angles.sin()], dim=-1)[None]


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys (b, heads, n, head width) -> the same, turned as `Rope` says, each image or all alike."""
    cos, sin = turns[:, None].chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)

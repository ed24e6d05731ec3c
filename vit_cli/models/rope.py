"""Positions as rotations of queries and keys, in two dimensions (RoPE; DINOv3, layers/rope_position_encoding.py)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.section import Grid


class Rope(nn.Module):
    """Turn each patch's queries and keys by angles that grow with its row, in one half of a head, and its column, in the other.

    Places run from -1 to 1 whatever the grid, and nothing is learned, so weights fit any grid. Prefix tokens are not turned.
    Raises ValueError unless `head_width` is a multiple of 4.
    """

    def __init__(self, grid: Grid, prefix: int, head_width: int, base: float = 100.0) -> None:
        super().__init__()
        if head_width % 4:
            raise ValueError(f"rope needs heads whose width is a multiple of 4, not {head_width}.")
        periods = base ** (torch.arange(head_width // 4, dtype=torch.float64) / (head_width // 4))
        sides = [(torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1 for side in grid]
        places = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).reshape(-1, 2, 1)
        angles = (2 * math.pi * places / periods).flatten(1).tile(2)  # (rows * columns, head_width)
        angles = F.pad(angles, (0, 0, prefix, 0)).float()
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Queries or keys (b, heads, prefix + rows * columns, head width) -> the same, turned."""
        first, second = x.chunk(2, dim=-1)
        return (x * self.cos + torch.cat([-second, first], dim=-1) * self.sin).to(x.dtype)

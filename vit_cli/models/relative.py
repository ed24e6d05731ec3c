"""Positions as a learned bias of attention for each offset between two patches (Swin, section 3.2; ViT, appendix D.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.section import Grid


def offsets(grid: Grid) -> Grid:
    """Give the grid of all offsets between two patches."""
    return Grid(2 * grid.rows - 1, 2 * grid.columns - 1)


class RelativeBias(nn.Module):
    """One number for each head and each offset of a query from a key, in rows and columns; 0 where a prefix token is either."""

    def __init__(self, grid: Grid, prefix: int, heads: int) -> None:
        super().__init__()
        self.grid, self.prefix = grid, prefix
        self.table = nn.Parameter(torch.zeros(offsets(grid).rows * offsets(grid).columns, heads))
        for name, side in grid._asdict().items():
            places = torch.arange(side)
            self.register_buffer(name, places[:, None] - places + side - 1, persistent=False)

    def forward(self) -> Tensor:
        """Give what is added to the logits (1, heads, prefix + patches, prefix + patches)."""
        patches = self.grid.rows * self.grid.columns
        table = self.table.view(*offsets(self.grid), -1)
        bias = table[
            self.rows[:, None, :, None], self.columns[None, :, None, :]
        ]  # (rows, columns, rows, columns, heads)
        bias = bias.reshape(patches, patches, -1).permute(2, 0, 1)
        return F.pad(bias, (self.prefix, 0, self.prefix, 0))[None]

"""The parts of a compact transformer.   b images, n tokens, d width."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.models.attention import Attention
from vit_cli.models.layers import DropPath, Mlp
from vit_cli.models.positions import Positions
from vit_cli.section import Grid

HIDDEN_CHANNELS = 64
"""Channels between the convolutions of a tokenizer that has several."""


class Convolutions(NamedTuple):
    """The convolutions of a tokenizer: `number` alike in a row.

    `relu` is for a ReLU after each, which then has no bias; `max_pool` for a 3x3 max-pool of stride 2 after that.
    """

    kernel: int
    stride: int
    padding: int
    number: int = 1
    relu: bool = True
    max_pool: bool = True

    def reduce(self, side: int) -> int:
        """Give how many tokens lie along a side of so many pixels: 0 if it is too short for a kernel."""
        for _ in range(self.number):
            if side + 2 * self.padding < self.kernel:
                return 0
            side = (side + 2 * self.padding - self.kernel) // self.stride + 1
            side = (side + 1) // 2 if self.max_pool else side
        return side


class Tokenizer(nn.Module):
    """Make tokens of an image by convolutions."""

    def __init__(self, form: Convolutions, channels: int, width: int) -> None:
        super().__init__()
        self.form = form
        sides = [channels, *[HIDDEN_CHANNELS] * (form.number - 1), width]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, form.kernel, form.stride, form.padding, bias=not form.relu)
            for inputs, outputs in pairwise(sides)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(b, channels, height, width) in pixels -> (b, rows * columns, d), row by row."""
        x = images
        for convolution in self.convolutions:
            x = convolution(x)
            x = F.relu(x) if self.form.relu else x
            x = F.max_pool2d(x, 3, stride=2, padding=1) if self.form.max_pool else x
        return x.flatten(2).transpose(1, 2)


class SequencePositions(Positions):
    """Sines and cosines of a token's place in the sequence, prefix tokens included (Vaswani et al., 2017)."""

    def __init__(self, grid: Grid, prefix: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        table = sincos(prefix + grid.rows * grid.columns, width)
        self.register_buffer("table", table[:, prefix:], persistent=False)
        self.register_buffer("prefix", table[:, :prefix], persistent=False)

    def vectors(self) -> Tensor:
        """Give one vector for each patch (1, rows * columns, d), row by row."""
        return self.table


def sincos(length: int, width: int) -> Tensor:
    """Fixed embeddings (1, length, width): the sine of each frequency, and beside it its cosine."""
    place = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = torch.arange(width) // 2 * 2 / width
    angle = place / 10_000.0**frequency
    return torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos()).float()[None]


class CctBlock(nn.Module):
    """Attention behind a LayerNorm and beside a residual; then a LayerNorm of all, and the MLP beside a residual.

    The second residual carries what is normalised already: so is the authors' code, unlike their figure and ViT.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(width, heads, attention_dropout, qkv_bias=False)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp, dropout, gelu="exact")
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """(b, n, d) -> (b, n, d), or (b, first, d): what becomes of the `first` tokens alone."""
        x = self.drop_path(x[:, :first], lambda x: self.dropout(self.attention(self.norm1(x), first=first)), x)
        x = self.norm2(x)
        return self.drop_path(x, self.think, x)

    def think(self, x: Tensor) -> Tensor:
        """Give the branch of the MLP: (b, n, d) -> (b, n, d)."""
        branch: Tensor = self.dropout(self.mlp(x))
        return branch


class SequencePool(nn.Module):
    """Pool tokens by a weighted mean, whose weights are learned from the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, d)."""
        weights = self.score(x).softmax(dim=1)
        pooled: Tensor = (weights.transpose(1, 2) @ x)[:, 0]
        return pooled

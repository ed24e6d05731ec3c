"""The blocks of a Vision Transformer (ViT, section 3.1).   b images, n tokens, d width, h heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.models.attention import Attention
from vit_cli.models.dense import Dense
from vit_cli.models.norm import Norm

Gelu = Literal["tanh", "exact"]


class PatchEmbedding(nn.Module):
    """Cut an image into patches and project each, as one matrix product (the same map as a convolution of that stride)."""

    def __init__(self, patch: int, channels: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Linear(channels * patch * patch, width)

    def forward(self, images: Tensor) -> Tensor:
        """(b, channels, rows * patch, columns * patch) -> (b, rows * columns, d), row by row."""
        b, c, height, width = images.shape
        p = self.patch
        x = images.reshape(b, c, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        tokens: Tensor = self.projection(x.reshape(b, (height // p) * (width // p), c * p * p))
        return tokens


class Mlp(nn.Module):
    """Two dense layers with a GELU between, applied to each token alone."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0, gelu: Gelu = "tanh") -> None:
        super().__init__()
        self.fc1 = Dense(width, hidden)
        self.gelu = nn.GELU(approximate="tanh" if gelu == "tanh" else "none")
        self.fc2 = Dense(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        wide: Tensor = self.fc2(self.dropout(self.fc1(x, self.gelu)))
        return wide


class SwiGlu(nn.Module):
    """A gated MLP, applied to each token alone: silu(gate) times value, then a dense layer (Shazeer, 2020; DINOv2).

    `fc1` holds the gate's rows, then the value's.
    """

    stacked: ClassVar = {"fc1": 2}

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = Dense(width, 2 * hidden)
        self.fc2 = Dense(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        wide: Tensor = self.fc2(self.dropout(F.silu(gate) * value))
        return wide


class LayerScale(nn.Module):
    """Scale each feature of a branch by a learned factor that starts small (CaiT; DeiT III, DINOv2)."""

    def __init__(self, width: int, first: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), first))

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        return x * self.gamma.to(x.dtype)


SKIP_ABOVE = 0.1
"""The rate of `DropPath` above which picking the images that go through the branch pays (DINOv2, layers/block.py)."""
FEWEST = 8
"""With fewer images at once an exact number of them would be too far from the rate."""


class DropPath(nn.Module):
    """Add a branch to what goes past it, for a share of the images alone, scaled up there (stochastic depth, Huang et al. 2016).

    Up to a rate of `SKIP_ABOVE` each image is left out by itself, after the branch. Above it an exact number of images,
    which a random order picks, goes through the branch, and the others cost nothing (DINOv2, section 5). Either way an
    image is left out equally often, up to a whole number of them, and the mean over all draws is x + branch(x).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, branch: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """(b, n, d) -> (b, n, d), with what `branch` makes of its `inputs` (b, n, d), each image alone.

        Of an input there is one for each image (b, ...), or one for all (1, ...).
        """
        if not self.training or self.rate == 0:
            return x + branch(*inputs)
        if self.rate == 1:
            return x
        b, keep = x.shape[0], 1 - self.rate
        if self.rate <= SKIP_ABOVE or b < FEWEST:
            added = branch(*inputs)
            return x + added * added.new_empty(b, 1, 1).bernoulli_(keep).div_(keep)
        kept = max(1, round(keep * b))
        picked = torch.randperm(b, device=x.device)[:kept]
        parts = [part if part is None or len(part) == 1 else part.index_select(0, picked) for part in inputs]
        return x.index_add(0, picked, branch(*parts).to(x.dtype), alpha=b / kept)


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and beside a residual."""

    def __init__(
        self,
        attention: Attention,
        mlp: Mlp | SwiGlu,
        width: int,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = Norm(width, eps=norm_eps)
        self.attention = attention
        self.scale1 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.norm2 = Norm(width, eps=norm_eps)
        self.mlp = mlp
        self.scale2 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Tensor, bias: Tensor | None = None, turns: Tensor | None = None, first: int | None = None
    ) -> Tensor:
        """(b, n, d) -> (b, n, d), or (b, first, d): what becomes of the `first` tokens alone.

        `bias` is added to the logits of attention (1, h, n, n), `turns` are rope's (1 or b, n, 2 e).
        """
        look_around = partial(self.look_around, first=first)
        x = self.drop_path(x[:, :first], look_around, x, bias, turns)
        return self.drop_path(x, self.think, x)

    def look_around(self, x: Tensor, bias: Tensor | None, turns: Tensor | None, first: int | None) -> Tensor:
        """Give the branch of attention: (b, n, d) -> (b, n, d) or (b, first, d)."""
        branch: Tensor = self.scale1(self.dropout(self.attention(self.norm1(x), bias, turns, first=first)))
        return branch

    def think(self, x: Tensor) -> Tensor:
        """Give the branch of the MLP: (b, n, d) -> (b, n, d)."""
        branch: Tensor = self.scale2(self.dropout(self.mlp(self.norm2(x))))
        return branch

    def products(self, tokens: int) -> int:
        """Count the multiply-adds of matrix products in one image of so many tokens."""
        dense = sum(layer.weight.numel() for layer in self.modules() if isinstance(layer, nn.Linear))
        return tokens * dense + 2 * self.attention.pairs(tokens) * self.attention.out.in_features

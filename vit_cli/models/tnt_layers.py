"""The parts of a Transformer in Transformer.   b images, n patches, m words of a patch, c inner width, d width."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.models.attention import attend, part_heads
from vit_cli.models.layers import DropPath, Mlp


class WordEmbedding(nn.Module):
    """Cut images into patches, and turn each square of `word` pixels inside a patch into a vector, by a 7x7 convolution.

    The published form pads every patch with zeros, so that a word knows its own patch only; the `legacy` one looks
    across the whole image first.
    """

    def __init__(self, patch: int, word: int, channels: int, width: int, legacy: bool) -> None:
        super().__init__()
        self.patch = patch
        self.word = word
        self.legacy = legacy
        self.projection = nn.Conv2d(channels, width, kernel_size=7, stride=word, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        """(b, channels, rows, columns) in pixels -> (b * n, m, c), patches and their words row by row."""
        words = self.projection(images if self.legacy else cut(images, self.patch))
        if self.legacy:
            words = cut(words, self.patch // self.word)
        return words.flatten(2).transpose(1, 2)


def cut(images: Tensor, side: int) -> Tensor:
    """(b, channels, rows * side, columns * side) -> (b * rows * columns, channels, side, side), row by row."""
    b, c, height, width = images.shape
    squares = images.reshape(b, c, height // side, side, width // side, side).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(-1, c, side, side)


class Fold(nn.Module):
    """Make one vector of a patch from its words.

    The published form is LayerNorm over all words at once, a dense layer, LayerNorm. The `legacy` one normalises each
    word alone and has no second LayerNorm. A bias is in the stem's and in the legacy ones.
    """

    def __init__(self, words: int, inner_width: int, width: int, bias: bool, legacy: bool, norm_eps: float) -> None:
        super().__init__()
        self.words = words
        self.each_word = legacy
        self.norm1 = nn.LayerNorm(inner_width if legacy else words * inner_width, eps=norm_eps)
        self.projection = nn.Linear(words * inner_width, width, bias=bias)
        self.norm2 = nn.Identity() if legacy else nn.LayerNorm(width, eps=norm_eps)

    def forward(self, words: Tensor, count: int) -> Tensor:
        """(b * n, m, c), with n = `count` patches of an image -> (b, n, d)."""
        words = self.norm1(words) if self.each_word else self.norm1(words.flatten(1))
        patches: Tensor = self.norm2(self.projection(words.reshape(-1, count, self.projection.in_features)))
        return patches


class SplitAttention(nn.Module):
    """Let every token look at every other; queries and keys share a layer, values have their own, neither has a bias."""

    stacked: ClassVar = {"qk": 2}

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.dropout = dropout
        self.qk = nn.Linear(width, 2 * width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """(b, n, d) -> (b, n, d), or (b, first, d): what the `first` tokens get alone."""
        width = x.shape[2]
        (v,) = part_heads(self.v(x), 1, self.heads)
        if first is None:
            q, k = part_heads(self.qk(x), 2, self.heads)
        else:
            (q,) = part_heads(F.linear(x[:, :first], self.qk.weight[:width]), 1, self.heads)
            (k,) = part_heads(F.linear(x, self.qk.weight[width:]), 1, self.heads)
        x = attend(q, k, v, self.dropout if self.training else 0.0)
        mixed: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return mixed


class Level(nn.Module):
    """Attention and MLP, each behind a LayerNorm and beside a residual: over the words of a patch, or over patches."""

    def __init__(
        self, width: int, heads: int, dropout: float, attention_dropout: float, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = SplitAttention(width, heads, attention_dropout)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, 4 * width, dropout, gelu="exact")
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """(b, n, d) -> (b, n, d), or (b, first, d): what becomes of the `first` tokens alone."""
        x = self.drop_path(x[:, :first], lambda x: self.dropout(self.attention(self.norm1(x), first=first)), x)
        return self.drop_path(x, self.think, x)

    def think(self, x: Tensor) -> Tensor:
        """Give the branch of the MLP: (b, n, d) -> (b, n, d)."""
        branch: Tensor = self.dropout(self.mlp(self.norm2(x)))
        return branch

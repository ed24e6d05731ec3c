"""Attention over all tokens, or within windows of patches.   b images, n tokens, d width, h heads, e width of a head."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.models.dense import Dense
from vit_cli.models.relative import RelativeBias
from vit_cli.models.rope import turn
from vit_cli.section import Grid


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of queries (b, h, n, e) over keys and values (b, h, m, e) -> (b, h, n, e).

    `bias` is added to the logits (b, h, n, m); its sides may be 1.
    """
    if bias is not None:
        bias = bias.to(q.dtype)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] <= MATMUL_TOKENS:
        return attend_by_products(q, k, v, dropout, bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, dropout: float, bias: Tensor | None = None) -> Tensor:
    """Do what `attend` does by two matrix products with a softmax between."""
    logits = multiply(q, k.transpose(-2, -1), q.shape[-1] ** -0.5)
    if bias is not None:
        logits = logits + bias
    return F.dropout(logits.softmax(dim=-1), dropout, training=dropout > 0) @ v


def multiply(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """(b, h, n, e), (b, h, e, m) -> (b, h, n, m), scaled; in the product itself unless its backward pass would scale twice."""
    if torch.is_grad_enabled():
        return x * scale @ y
    (b, h, n, e), m = x.shape, y.shape[-1]
    out = torch.baddbmm(x.new_empty(()), x.reshape(b * h, n, e), y.reshape(b * h, e, m), beta=0, alpha=scale)
    return out.view(b, h, n, m)


# On CPUs in bf16 the products train 1.2 to 4 times as fast as torch's fused kernel; in float32 the kernel is the
# faster one (scripts/bench_attention.py). Beyond this length their (n, n) weights cost too much memory.
MATMUL_TOKENS = 1024


class Windows(nn.Module):
    """Attention in which patches see their own window and all prefix tokens, and prefix tokens see everything.

    The grid is cut into windows of `window` patches; one row high and as wide as the grid they are its rows. Where they
    do not divide the grid it is filled up with patches that nobody sees. The cost grows with patches times window.
    """

    def __init__(self, grid: Grid, window: Grid, prefix: int) -> None:
        super().__init__()
        self.grid, self.prefix = grid, prefix
        self.window = Grid(min(window.rows, grid.rows), min(window.columns, grid.columns))
        self.counts = Grid(-(-grid.rows // self.window.rows), -(-grid.columns // self.window.columns))
        self.padding = Grid(
            self.counts.rows * self.window.rows - grid.rows, self.counts.columns * self.window.columns - grid.columns
        )
        self.register_buffer("mask", self.hide_padding() if any(self.padding) else None, persistent=False)

    def hide_padding(self) -> Tensor:
        """Give what is added to logits (windows, 1, 1, prefix + patches of a window): -inf for patches that are none."""
        seen = self.part(torch.ones(1, 1, self.grid.rows * self.grid.columns, 1))
        return F.pad(seen.log().transpose(2, 3), (self.prefix, 0))

    @property
    def pairs(self) -> int:
        """The number of pairs of a query and a key in one image, with the padding."""
        windows, patches = self.counts.rows * self.counts.columns, self.window.rows * self.window.columns
        tokens = self.prefix + self.grid.rows * self.grid.columns
        return self.prefix * tokens + windows * patches * (self.prefix + patches)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        """Attend as `attend` does, all of (b, h, prefix + patches, e)."""
        mask = None if self.mask is None else self.mask.repeat(q.shape[0], 1, 1, 1)
        patches = self.part(q[:, :, self.prefix :])
        patches = self.join(attend(patches, self.part_keys(k), self.part_keys(v), dropout, mask))
        if self.prefix == 0:
            return patches
        return torch.cat([attend(q[:, :, : self.prefix], k, v, dropout), patches], dim=2)

    def part_keys(self, x: Tensor) -> Tensor:
        """Give each window its patches, after all prefix tokens: (b, h, n, e) -> (b * windows, h, prefix + patches, e)."""
        windows = self.part(x[:, :, self.prefix :])
        if self.prefix == 0:
            return windows
        prefix = x[:, :, : self.prefix].repeat_interleave(self.counts.rows * self.counts.columns, dim=0)
        return torch.cat([prefix, windows], dim=2)

    def part(self, x: Tensor) -> Tensor:
        """(b, h, rows * columns, e) -> (b * windows, h, patches of a window, e), an image's windows row by row."""
        b, h, _, e = x.shape
        x = F.pad(x.reshape(b, h, *self.grid, e), (0, 0, 0, self.padding.columns, 0, self.padding.rows))
        x = x.reshape(b, h, self.counts.rows, self.window.rows, self.counts.columns, self.window.columns, e)
        return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, h, self.window.rows * self.window.columns, e)

    def join(self, x: Tensor) -> Tensor:
        """Undo `part`."""
        _, h, _, e = x.shape
        x = x.reshape(-1, *self.counts, h, *self.window, e).permute(0, 3, 1, 4, 2, 5, 6)
        x = x.reshape(x.shape[0], h, self.grid.rows + self.padding.rows, self.grid.columns + self.padding.columns, e)
        return x[:, :, : self.grid.rows, : self.grid.columns].reshape(
            x.shape[0], h, self.grid.rows * self.grid.columns, e
        )


def part_heads(x: Tensor, kinds: int, heads: int) -> list[Tensor]:
    """Part the outputs of a layer that holds `kinds` of them: (b, n, kinds * h * e) -> each (b, h, n, e).

    They are parted before heads and tokens change places: so gradients, which come as (b, n, h, e) in memory, are laid
    side by side once, and not copied again for the layer's backward pass.
    """
    b, n, d = x.shape
    return [part.transpose(1, 2) for part in x.view(b, n, kinds, heads, d // (kinds * heads)).unbind(2)]


class Attention(nn.Module):
    """Let every token look at every other, or at those of its window.

    Queries and keys may be normalised for each head (ViT-22B), then turned by their place (`rope.turn`).
    """

    stacked: ClassVar = {"qkv": 3}

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
        bias: RelativeBias | None = None,
        windows: Windows | None = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.dropout = dropout
        self.qkv = Dense(width, 3 * width, bias=qkv_bias)
        self.norm_q = nn.LayerNorm(width // heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.norm_k = nn.LayerNorm(width // heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.bias = bias
        self.windows = windows
        self.out = Dense(width, width)

    def forward(
        self, x: Tensor, bias: Tensor | None = None, turns: Tensor | None = None, first: int | None = None
    ) -> Tensor:
        """(b, n, d) -> (b, n, d). `bias` is added to the logits (b, h, n, n), for a layer that has no bias of its own.

        Queries and keys are turned by `turns` (1 or b, n, 2 e). Of all that, only what the `first` tokens get is worked
        out if it is asked for (b, first, d); with windows they are prefix tokens, which see everything.
        """
        q, k, v = self.project(x, first)
        q, k = (normed.to(v.dtype) for normed in (self.norm_q(q), self.norm_k(k)))
        if turns is not None:
            q, k = turn(q, turns[:, :first]), turn(k, turns)
        dropout = self.dropout if self.training else 0.0
        if self.windows is None or first is not None:
            bias = bias if self.bias is None else self.bias()
            x = attend(q, k, v, dropout, None if bias is None else bias[..., :first, :])
        else:
            x = self.windows(q, k, v, dropout)
        mixed: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return mixed

    def project(self, x: Tensor, first: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """(b, n, d) -> queries of the `first` tokens or of all (b, h, first or n, e), keys and values of all (b, h, n, e)."""
        if first is None:
            q, k, v = part_heads(self.qkv(x), 3, self.heads)
            return q, k, v
        width, shift = x.shape[2], self.qkv.bias
        (q,) = part_heads(
            F.linear(x[:, :first], self.qkv.weight[:width], None if shift is None else shift[:width]), 1, self.heads
        )
        k, v = part_heads(F.linear(x, self.qkv.weight[width:], None if shift is None else shift[width:]), 2, self.heads)
        return q, k, v

    def pairs(self, tokens: int) -> int:
        """Count the pairs of a query and a key in one image of so many tokens."""
        return tokens**2 if self.windows is None else self.windows.pairs

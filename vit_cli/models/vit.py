"""The Vision Transformer (Dosovitskiy et al., 2021, "An Image is Worth 16x16 Words")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vit_cli.models.classifier import Classifier
from vit_cli.models.drop_tokens import AllTokens, count_kept
from vit_cli.models.heads import MapHead, start_at
from vit_cli.models.init import initialise
from vit_cli.models.layers import Block
from vit_cli.models.positions import PositionsOfBlocks
from vit_cli.models.relative import RelativeBias
from vit_cli.models.rope import Rope
from vit_cli.models.vit_fields import Pool, VitFields
from vit_cli.section import Grid


class Vit(VitFields):
    """A plain Vision Transformer: a published `size`, or any width, depth and heads."""

    name: Literal["vit"] = "vit"

    def build(self, classes: int) -> ViT:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without head."""
        return ViT(**self.parts(classes))


class ViT(Classifier):
    """Patches, positions, blocks, a LayerNorm, one pooled token, classes; put together from its parts.

    Tokens come in this order: class token, those that a subclass adds, registers, patches; all but the patches are the
    `prefix`. The last layer starts at zero, so the first loss is ln K.
    """

    def __init__(
        self,
        grid: Grid,
        patch: int,
        embedding: nn.Module,
        has_cls: bool,
        registers: int,
        prefix: int,
        positions: nn.Module,
        positions_shared: bool,
        rope: Rope | None,
        bias: RelativeBias | None,
        dropout: float,
        blocks: Sequence[Block],
        norm: nn.LayerNorm,
        norm_first: bool,
        pool: Pool,
        map_head: MapHead | None,
        head: nn.Module,
        head_bias: float,
    ) -> None:
        super().__init__()
        self.grid, self.patch, self.prefix, self.width = grid, patch, prefix, norm.normalized_shape[0]
        self.grids = {Grid(grid.rows * patch, grid.columns * patch): grid}
        self.positions_shared, self.norm_first, self.pooling = positions_shared, norm_first, pool
        self.layers = len(blocks) + 1
        self.tokens, self.seen = prefix + grid.rows * grid.columns, 1 if pool == "cls" else None
        self.head_names = ("head.",)
        self.embedding = embedding
        self.cls = nn.Parameter(torch.zeros(1, 1, self.width)) if has_cls else None
        self.registers = nn.Parameter(torch.zeros(1, registers, self.width)) if registers else None
        self.positions = positions
        self.drop_tokens: nn.Module = AllTokens()
        self.stream: nn.Module = nn.Identity()
        self.rope = rope
        self.bias = bias
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.pool = map_head
        self.head = head
        initialise(self)
        start_at(self.head, head_bias)
        if self.registers is not None:
            nn.init.normal_(self.registers, std=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns), normalised -> logits (b, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> one pooled token each (b, d; cls_gap: b, 2 d), what the head sees."""
        pooled = self.pool_tokens(self.encode(images, self.seen))
        return pooled if self.norm_first else self.norm(pooled)

    def pool_tokens(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, d), cls_gap: (b, 2 d). Mean and map look at patches only."""
        if self.pooling == "cls":
            return x[:, 0]
        if self.pool is not None:
            pooled: Tensor = self.pool(x[:, self.prefix :])
            return pooled
        mean = x[:, self.prefix :].mean(dim=1)
        return mean if self.pooling == "gap" else torch.cat([x[:, 0], mean], dim=1)

    def encode(self, images: Tensor, first: int | None = None) -> Tensor:
        """Images (b, channels, rows, columns) -> tokens (b, n, d), after the last LayerNorm unless it comes after pooling.

        The `first` tokens alone are worked out if that is asked for.
        """
        grid = self.find_grid(images)
        turns = None if self.rope is None else self.rope(grid)
        x, turns = self.drop_tokens(self.place(self.embed(images), 0, grid), turns)
        x = self.stream(self.dropout(x))
        bias = None if self.bias is None else self.bias()
        for i, block in enumerate(self.blocks):
            x = self.place(x, i, grid).to(x.dtype) if i else x
            x = block(x, bias, turns, first if block is self.blocks[-1] else None)
        return self.norm(x) if self.norm_first else x

    def embed(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> tokens without positions (b, n, d)."""
        patches: Tensor = self.embedding(images)
        before = [tokens for tokens in (self.prefix_tokens(), self.registers) if tokens is not None]
        if not before:
            return patches
        return torch.cat([*(tokens.expand(patches.shape[0], -1, -1) for tokens in before), patches], dim=1)

    def prefix_tokens(self) -> Tensor | None:
        """Give the tokens before the registers (1, k, d), which can have positions; a subclass may add some."""
        return self.cls

    def place(self, x: Tensor, block: int, grid: Grid) -> Tensor:
        """Add the positions that come before a block, for patches of a grid: (b, n, d) -> (b, n, d)."""
        if isinstance(self.positions, PositionsOfBlocks):
            return self.positions.tables[block](x, grid)
        return self.positions(x, grid) if block == 0 or self.positions_shared else x

    def allow(self, res: Grid) -> None:
        """Take images of `res` pixels, too: positions are stretched for them on the way."""
        self.grids[res] = Grid(res.rows // self.patch, res.columns // self.patch)

    def find_grid(self, images: Tensor) -> Grid:
        """Give the rows and columns of patches of images; ValueError for images of a size that is not allowed."""
        size = Grid(*images.shape[-2:])
        if size not in self.grids:
            raise ValueError(f"images of {size} for a model of {' or '.join(map(str, self.grids))} pixels.")
        return self.grids[size]

    def layer_of(self, name: str) -> int:
        """Tell the layer of the parameter `name`; positions before block i belong to the layer before it."""
        return int(name.split(".")[2]) if name.startswith("positions.tables.") else super().layer_of(name)

    def flops(self, drop_tokens: float = 0.0) -> int:
        """Count a forward pass of one image: matrix products only, a multiply-add as two.

        In training `drop_tokens` of its patches may be left out.
        """
        patches = self.grid.rows * self.grid.columns
        kept = count_kept(patches, drop_tokens)
        products = sum(block.products(self.prefix + kept) for block in self.blocks)
        products += patches * count_dense(self.embedding) + count_dense(self.head)
        if self.pool is not None:
            products += kept * (self.pool.kv.weight.numel() + 2 * self.width)
            products += sum(count_dense(part) for part in (self.pool.q, self.pool.out, self.pool.mlp))
        return 2 * products

    def stem_flops(self) -> int:
        """Count the projection of the patches."""
        return 2 * self.grid.rows * self.grid.columns * count_dense(self.embedding)


def count_dense(module: nn.Module) -> int:
    """Count the weights of dense layers, each of which is one multiply-add for each token."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))

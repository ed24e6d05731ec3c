"""Judging without work that nobody reads: of the last block, a head on the class token sees that one token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from vit_cli.models.deit import DistilledViT
from vit_cli.models.layers import Block
from vit_cli.models.vit import ViT


class LastBlock(nn.Module):
    """A block of an evaluation that gives its first tokens alone: all others are keys and values to them, no more."""

    def __init__(self, block: Block, read: int) -> None:
        super().__init__()
        self.block, self.read = block, read

    def forward(self, x: Tensor, bias: Tensor | None = None, turns: Tensor | None = None) -> Tensor:
        """(b, n, d) -> (b, read, d), what the block gives first; `bias` and `turns` are as there."""
        block = self.block
        seen = block.attention.look(block.norm1(x), self.read, bias, turns)
        x = x[:, : self.read] + block.scale1(seen)
        return x + block.think(x)


def count_read(model: nn.Module) -> int | None:
    """Count the tokens that the heads see, if they are the first ones; None if all are seen, or a model is of another kind."""
    if not isinstance(model, ViT) or model.pooling != "cls":
        return None
    return 2 if isinstance(model, DistilledViT) else 1


@contextmanager
def reading_least(model: nn.Module) -> Iterator[None]:
    """Have a model that is judged leave out, inside the block, what its heads don't see; the answers are the same.

    This saves most of the last of the blocks: queries, projection and MLP of all patches.
    """
    read = count_read(model)
    if read is None or model.training:
        yield
        return
    last = model.blocks[-1]
    model.blocks[-1] = LastBlock(last, read)
    try:
        yield
    finally:
        model.blocks[-1] = last

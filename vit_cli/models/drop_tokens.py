"""Leaving patches out of training.   b images, n tokens, d width."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AllTokens(nn.Module):
    """Leave all patches where they are."""

    def forward(self, x: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Give the arguments back."""
        return x, turns


class DropTokens(nn.Module):
    """In training, leave out a random share of each image's patches (PatchDropout, Liu et al., 2022; FLIP, Li et al., 2023).

    The first `prefix` tokens stay. Those that stay come in random order, which no block and no pool sees.
    """

    def __init__(self, share: float, prefix: int) -> None:
        super().__init__()
        self.share, self.prefix = share, prefix

    def forward(self, x: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Tokens (b, p + n, d) and the rotations of rope (1, p + n, e), if any -> what stays: (b, p + m, d), (b, p + m, e)."""
        if not self.training:
            return x, turns
        b, patches = len(x), x.shape[1] - self.prefix
        order = torch.rand(b, patches, device=x.device).argsort(dim=1)
        kept = order[:, : count_kept(patches, self.share)] + self.prefix
        places = torch.cat([torch.arange(self.prefix, device=x.device).expand(b, -1), kept], dim=1)
        return take(x, places), None if turns is None else take(turns.expand(b, -1, -1), places)


def count_kept(patches: int, share: float) -> int:
    """Count the patches that stay where `share` of them is left out: at least one."""
    return max(1, round(patches * (1 - share)))


def take(x: Tensor, places: Tensor) -> Tensor:
    """Give of each image the tokens at its places: (b, n, d) and (b, m) -> (b, m, d)."""
    return x.gather(1, places[:, :, None].expand(-1, -1, x.shape[2]))

"""The residual stream in half the bytes: tokens stay in autocast's type from block to block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vit_cli.models.classifier import Classifier


class Narrow(nn.Module):
    """Round tokens to the type that autocast computes products in; without autocast they stay as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        device = x.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def narrow_stream(model: Classifier, wanted: bool = True) -> None:
    """Have the tokens between the blocks of `model` in autocast's type, from now on, if that is wanted.

    Each block then adds to numbers of 8 bits instead of 24, and norms, additions and copies move half the bytes.
    Raises ValueError for a model whose blocks add up in float32 alone.
    """
    if not wanted:
        return
    if not hasattr(model, "stream"):
        raise ValueError(f"{type(model).__name__} adds its blocks up in float32.")
    model.stream = Narrow()

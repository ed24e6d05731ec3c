"""Test-time flips."""

from __future__ import annotations

from torch import Tensor, nn


class Mirrored(nn.Module):
    """A model that answers by the mean of its logits for an image and for its mirror image.

    A mean of logits is also right for numbers that are no logits, those of a regression.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(b, c, rows, columns) -> (b, K)."""
        mean: Tensor = (self.model(images) + self.model(images.flip(-1))) / 2
        return mean

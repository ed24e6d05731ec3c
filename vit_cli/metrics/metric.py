"""What every metric can do."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Metric(Protocol):
    """Sums over images, which add up over batches and processes, and one division at the end."""

    def start(self, device: torch.device) -> Tensor:
        """Give sums of no image at all: zeros in float64."""

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Add a batch to `sums` in place, without waiting for the device.

        (b, K) logits; (b,) class numbers, (b, K) marks of 0 and 1, or (b, K) standardised numbers; (b,) losses.
        """

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Turn the sums of all images into named scores; scores of no image are NaN."""

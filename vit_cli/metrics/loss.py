"""The mean loss, and how many images it is of."""

from __future__ import annotations

import torch
from torch import Tensor


class MeanLoss:
    """`loss` over all `images`, each counted once."""

    def start(self, device: torch.device) -> Tensor:
        """Give zeros (2,): the sum of losses, images."""
        return torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:  # noqa: ARG002
        """Add the losses (b,) of a batch, in float64."""
        sums[0] += losses.sum(dtype=torch.float64)
        sums[1] += len(losses)

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `loss` and `images`."""
        return {"loss": (sums[0] / sums[1]).item(), "images": sums[1].item()}

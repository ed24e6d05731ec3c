"""How often the right class comes first, and among the first five."""

from __future__ import annotations

import torch
from torch import Tensor


class Accuracy:
    """`top1` and `top5` in per cent; with fewer than five classes `top5` counts them all.

    Of equal logits the class that comes first wins, as with argmax, so a model that always says the same scores one
    class's share. An image whose own logit is NaN is wrong, and a NaN elsewhere counts as ahead of it.
    """

    def start(self, device: torch.device) -> Tensor:
        """Give zeros (3,): images right at first, right among five, all."""
        return torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:  # noqa: ARG002
        """Count a batch: (b, K) logits, (b,) labels."""
        classes = logits.shape[1]
        own = logits.gather(1, labels[:, None])
        is_earlier = torch.arange(classes, device=logits.device) < labels[:, None]
        rank = (~(logits <= own) | ((logits == own) & is_earlier)).sum(1)
        sums += torch.stack([(rank < 1).sum(), (rank < min(5, classes)).sum(), torch.ones_like(rank).sum()])

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `top1` and `top5` in per cent."""
        top1, top5 = (100 * sums[:2] / sums[2]).tolist()
        return {"top1": top1, "top5": top5}

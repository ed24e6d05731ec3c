"""Whether a model is as often right as it is sure (Guo et al., 2017, "On Calibration of Modern Neural Networks")."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15
"""Equal shares of the confidences from 0 to 1, as in the paper."""


class Calibration:
    """The expected calibration error: how far confidence and accuracy of 15 bins are apart, each by its share of the images.

    A bin holds its lower edge. Confidences that float32 has rounded to 1 have a cell of their own, as in torchmetrics.
    """

    def start(self, device: torch.device) -> Tensor:
        """Give zeros (3, BINS + 1): images, the sum of their confidences, and how many are right."""
        return torch.zeros(3, BINS + 1, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:  # noqa: ARG002
        """Count a batch: (b, K) logits, (b,) labels. Images whose logits hold a NaN say nothing and are left out."""
        confidences, said = logits.softmax(dim=1).max(dim=1)
        edges = torch.linspace(0, 1, BINS + 1, dtype=confidences.dtype, device=confidences.device)
        says = ~confidences.isnan()
        confidences = confidences.nan_to_num(nan=0.0)
        cells = torch.bucketize(confidences, edges, right=True) - 1
        rows = torch.stack([torch.ones_like(confidences), confidences, (said == labels).to(confidences.dtype)])
        sums.index_add_(1, cells, (rows * says).to(sums.dtype))

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `ece`, from 0 (calibrated) to 1."""
        images, confidences, right = sums
        return {"ece": ((confidences - right).abs().sum() / images.sum()).item()}


class Bin(NamedTuple):
    """The images of which a model is between `low` and `high` sure: how sure on average, and which share of them is right."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def list_bins(sums: Tensor) -> list[Bin]:
    """Give the bins that hold images, the least sure first; what is certain counts to the last."""
    cells = torch.cat([sums[:, : BINS - 1], sums[:, BINS - 1 :].sum(dim=1, keepdim=True)], dim=1).cpu()
    edges = [number / BINS for number in range(BINS + 1)]
    rows = zip(edges, edges[1:], *cells.tolist(), strict=False)
    return [Bin(low, high, int(n), sure / n, right / n) for low, high, n, sure, right in rows if n]

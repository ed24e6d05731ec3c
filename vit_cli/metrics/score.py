"""All metrics of a task, run together on one tensor of sums."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vit_cli.metrics.metric import Metric


class ScoreSheet:
    """Some metrics by name; itself a metric, whose sums are one vector: one sum over the processes."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = metrics
        self.shapes = {name: metric.start(torch.device("meta")).shape for name, metric in self.metrics.items()}

    def start(self, device: torch.device) -> Tensor:
        """Give sums of no image at all: zeros in float64, a vector."""
        size = sum(shape.numel() for shape in self.shapes.values())
        return torch.zeros(size, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Add a batch to `sums` in place: logits, labels and losses as the metrics take them."""
        parts = self.split(sums)
        for name, metric in self.metrics.items():
            metric.add(parts[name], logits, labels, losses)

    def merge(self, sums: Tensor, others: Tensor) -> None:
        """Add the sums of other images to `sums` in place."""
        sums += others

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give the scores of all metrics."""
        parts = self.split(sums)
        scores: dict[str, float] = {}
        for name, metric in self.metrics.items():
            scores |= metric.finish(parts[name])
        return scores

    def confusion(self, sums: Tensor) -> Tensor | None:
        """Give the confusion matrix (K, K), a row per true class; None if there is none."""
        return self.split(sums).get("confusion")

    def calibration(self, sums: Tensor) -> Tensor | None:
        """Give the sums of the bins of confidence, as `Calibration` has them; None if there are none."""
        return self.split(sums).get("calibration")

    def split(self, sums: Tensor) -> dict[str, Tensor]:
        """Give each metric's own sums, as views."""
        pieces = sums.split([shape.numel() for shape in self.shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

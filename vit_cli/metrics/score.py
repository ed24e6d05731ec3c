"""All metrics of a classifier, run together on one tensor of sums."""

from __future__ import annotations

import torch
from torch import Tensor

from vit_cli.metrics.accuracy import Accuracy
from vit_cli.metrics.confusion import Confusion
from vit_cli.metrics.loss import MeanLoss
from vit_cli.metrics.metric import Metric

CONFUSION_LIMIT = 2048
"""Above so many classes there is no confusion matrix: it would take 32 MB and more, and nobody could look at it."""


class ScoreSheet:
    """The metrics for `classes` classes; itself a metric, whose sums are one vector: one sum over the processes."""

    def __init__(self, classes: int) -> None:
        self.metrics: dict[str, Metric] = {"accuracy": Accuracy(), "loss": MeanLoss()}
        if classes <= CONFUSION_LIMIT:
            self.metrics["confusion"] = Confusion(classes)
        self.shapes = {name: metric.start(torch.device("meta")).shape for name, metric in self.metrics.items()}

    def start(self, device: torch.device) -> Tensor:
        """Give sums of no image at all: zeros in float64, a vector."""
        size = sum(shape.numel() for shape in self.shapes.values())
        return torch.zeros(size, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Add a batch to `sums` in place: (b, K) logits, (b,) labels, (b,) losses."""
        parts = self.split(sums)
        for name, metric in self.metrics.items():
            metric.add(parts[name], logits, labels, losses)

    def merge(self, sums: Tensor, others: Tensor) -> None:
        """Add the sums of other images to `sums` in place."""
        sums += others

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `top1`, `top5`, `loss`, `images`, and with a confusion matrix its `macro_...` rates."""
        parts = self.split(sums)
        scores: dict[str, float] = {}
        for name, metric in self.metrics.items():
            scores |= metric.finish(parts[name])
        return scores

    def confusion(self, sums: Tensor) -> Tensor | None:
        """Give the confusion matrix (K, K), a row per true class; None if there are too many classes."""
        return self.split(sums).get("confusion")

    def split(self, sums: Tensor) -> dict[str, Tensor]:
        """Give each metric's own sums, as views."""
        pieces = sums.split([shape.numel() for shape in self.shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

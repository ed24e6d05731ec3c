"""What is taken for what, and how well each class is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CONFUSION_LIMIT = 2048
"""Above so many classes there is no confusion matrix: it would take 32 MB and more, and nobody could look at it."""


class Confusion:
    """The confusion matrix, and precision, recall and F1 averaged over the classes that have images."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def start(self, device: torch.device) -> Tensor:
        """Give zeros (K, K): a row per true class, a column per predicted one."""
        return torch.zeros(self.classes, self.classes, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:  # noqa: ARG002
        """Count a batch: (b, K) logits, (b,) labels. Images whose logits hold a NaN say nothing and are left out."""
        cells = labels * self.classes + logits.argmax(1)
        counted = (~logits.isnan().any(1)).to(sums.dtype)
        sums.view(-1).index_add_(0, cells, counted)

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `macro_precision`, `macro_recall` and `macro_f1` in per cent."""
        means = 100 * rates(sums)[:, sums.sum(1) > 0].mean(1)
        return dict(zip(("macro_precision", "macro_recall", "macro_f1"), means.tolist(), strict=True))


class ClassScore(NamedTuple):
    """How well one class is found: images of it, and rates in per cent."""

    name: str
    images: int
    precision: float
    recall: float
    f1: float


def per_class(matrix: Tensor, classes: Sequence[str]) -> list[ClassScore]:
    """Score every class of a confusion matrix (K, K); a rate without any image to judge it by is 0."""
    images = matrix.sum(1).int().tolist()
    shares = (100 * rates(matrix)).T.tolist()
    return [ClassScore(name, count, *row) for name, count, row in zip(classes, images, shares, strict=True)]


def rates(matrix: Tensor) -> Tensor:
    """Give precision, recall and F1 (3, K) of a confusion matrix (K, K), with 0 for 0 / 0."""
    right, true, said = matrix.diag(), matrix.sum(1), matrix.sum(0)
    return torch.stack([right / said, right / true, 2 * right / (true + said)]).nan_to_num(nan=0.0)

"""The task with any number of labels to each image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vit_cli.metrics.loss import MeanLoss
from vit_cli.metrics.marks import Marks, average_precision, rates
from vit_cli.metrics.score import ScoreSheet
from vit_cli.metrics.task import Answer, Row, Task, Values


class Multilabel(Task):
    """Which labels, any number of them."""

    name = "multilabel"
    shown = ("map", "macro_f1")
    reported = ("map", "macro_f1", "micro_f1", "exact_match")
    needs_answers = True

    def sheet(self) -> ScoreSheet:
        return ScoreSheet({"marks": Marks(len(self.names)), "loss": MeanLoss()})

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum the binary cross entropies over the labels, as the default loss does."""
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(1)

    def record(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.cat([labels, logits], dim=1)

    def read(self, table: Values) -> Answer:
        labels, logits = np.split(table, 2, axis=1)
        confidence = torch.from_numpy(logits).sigmoid().numpy()
        return Answer(labels.astype(np.int64), (logits > 0).astype(np.int64), confidence)

    def rank(self, table: Values) -> dict[str, float]:
        """Give `map`, the mean average precision over the labels that some image has, in per cent; 0 if there is none."""
        labels, logits = np.split(table, 2, axis=1)
        precisions = average_precision(logits, labels)
        known = precisions[~np.isnan(precisions)]
        return {"map": 100 * float(known.mean()) if len(known) else 0.0}

    def per_class(self, sheet: ScoreSheet, sums: Tensor, table: Values) -> list[Row]:
        counts = sheet.split(sums)["marks"][:-2].view(3, -1)
        labels, logits = np.split(table, 2, axis=1)
        columns = zip(
            self.names,
            counts[2].int().tolist(),
            (100 * average_precision(logits, labels)).tolist(),
            *(100 * rates(counts)).tolist(),
            strict=True,
        )
        return [dict(zip(("class", "images", "ap", "precision", "recall", "f1"), row, strict=True)) for row in columns]

    def predict(self, logits: Tensor, top: int | None, threshold: float) -> list[list[tuple[str, float]]]:
        count = min(top or len(self.names), len(self.names))
        least = -1.0 if top == 0 else threshold
        probabilities, order = logits.double().sigmoid().topk(count)
        pairs = zip(order.tolist(), probabilities.tolist(), strict=True)
        return [[(self.names[i], p) for i, p in zip(*pair, strict=True) if p > least] for pair in pairs]

    def is_right(self, answer: Answer) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = (answer.predicted == answer.labels).all(axis=1)
        return right

    def say(self, labels: Values) -> str:
        return ", ".join(self.parts(labels))

    def parts(self, labels: Values) -> list[str]:
        return self.marked(labels) or ["nothing"]

    def marked(self, labels: Values) -> list[str]:
        """Name the labels that are there."""
        return [name for name, mark in zip(self.names, labels, strict=True) if mark]

    def heads(self) -> list[str]:
        return ["labels", "predictions", *(f"p({name})" for name in self.names)]

    def cells(self, answer: Answer, place: int) -> list[str]:
        label, predicted, confidence = (column[place] for column in answer)
        return ["|".join(self.marked(label)), "|".join(self.marked(predicted)), *map(repr, confidence.tolist())]

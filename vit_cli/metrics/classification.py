"""The task with one class to each image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vit_cli.metrics.accuracy import Accuracy
from vit_cli.metrics.calibration import Calibration
from vit_cli.metrics.confusion import CONFUSION_LIMIT, Confusion, per_class
from vit_cli.metrics.loss import MeanLoss
from vit_cli.metrics.metric import Metric
from vit_cli.metrics.score import ScoreSheet
from vit_cli.metrics.task import Answer, Row, Task, Values


class Classification(Task):
    """Which one class."""

    name = "classification"
    shown = ("top1", "top5")
    reported = ("top1", "top5")

    columns = 3

    @property
    def detailed(self) -> tuple[str, ...]:
        """Averages over the classes, where there are not too many of them, and calibration."""
        averages = ("macro_precision", "macro_recall", "macro_f1") if len(self.names) <= CONFUSION_LIMIT else ()
        return (*averages, "ece")

    def sheet(self) -> ScoreSheet:
        metrics: dict[str, Metric] = {"accuracy": Accuracy(), "loss": MeanLoss(), "calibration": Calibration()}
        if len(self.names) <= CONFUSION_LIMIT:
            metrics["confusion"] = Confusion(len(self.names))
        return ScoreSheet(metrics)

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")

    def record(self, logits: Tensor, labels: Tensor) -> Tensor:
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        return torch.stack([labels.float(), predicted.float(), confidence], dim=1)  # exact for up to 16 million classes

    def read(self, table: Values) -> Answer:
        return Answer(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])

    def per_class(self, sheet: ScoreSheet, sums: Tensor, table: Values) -> list[Row]:  # noqa: ARG002
        matrix = sheet.confusion(sums)
        rows = per_class(matrix, self.names) if matrix is not None else ()
        return [
            {"class": row.name, **{key: value for key, value in row._asdict().items() if key != "name"}} for row in rows
        ]

    def predict(self, logits: Tensor, top: int | None, threshold: float) -> list[list[tuple[str, float]]]:  # noqa: ARG002
        count = min(5 if top is None else top, len(self.names)) or len(self.names)
        probabilities, order = logits.double().softmax(dim=1).topk(count)
        pairs = zip(order.tolist(), probabilities.tolist(), strict=True)
        return [[(self.names[i], p) for i, p in zip(*pair, strict=True)] for pair in pairs]

    def is_right(self, answer: Answer) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = answer.predicted == answer.labels
        return right

    def say(self, labels: Values) -> str:
        return self.names[int(labels)]

    def heads(self) -> list[str]:
        return ["label", "prediction", "probability"]

    def cells(self, answer: Answer, place: int) -> list[str]:
        label, predicted, confidence = (column[place] for column in answer)
        return [self.names[label], self.names[predicted], repr(float(confidence))]

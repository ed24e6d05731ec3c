"""The task with numbers to each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vit_cli.metrics.deviation import Deviation
from vit_cli.metrics.loss import MeanLoss
from vit_cli.metrics.score import ScoreSheet
from vit_cli.metrics.task import Answer, Row, Task, Values
from vit_cli.section import Scale


class Regression(Task):
    """Which numbers; the model gives them standardised, and everything that is shown is in the user's units.

    R squared is the main score: for one target it ranks models as RMSE does, and of several it takes each by its own
    spread, whatever the units. Errors in these units are told of each target, and of none together with others.
    """

    name = "regression"

    def __init__(self, names: Sequence[str], scale: Scale) -> None:
        super().__init__(names)
        self.scale = scale
        self.shown = ("r2", "rmse") if len(names) == 1 else ("r2",)
        self.reported = ("r2", "rmse", "mae") if len(names) == 1 else ("r2",)

    def sheet(self) -> ScoreSheet:
        return ScoreSheet({"deviation": Deviation(self.scale), "loss": MeanLoss()})

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Average the squared errors of the standardised targets, as the default loss does."""
        return F.mse_loss(logits, labels, reduction="none").mean(1)

    def record(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.cat([labels, logits], dim=1)

    def read(self, table: Values) -> Answer:
        labels, predicted = (self.in_units(part) for part in np.split(table, 2, axis=1))
        return Answer(labels, predicted, np.zeros((len(table), 0)))

    def per_class(self, sheet: ScoreSheet, sums: Tensor, table: Values) -> list[Row]:  # noqa: ARG002
        each = Deviation(self.scale).each(sheet.split(sums)["deviation"])
        return [
            {"target": name, **{score: values[place].item() for score, values in each.items()}}
            for place, name in enumerate(self.names)
        ]

    def predict(self, logits: Tensor, top: int | None, threshold: float) -> list[list[tuple[str, float]]]:  # noqa: ARG002
        rows = self.in_units(logits.float().cpu().numpy()).tolist()
        return [list(zip(self.names, row, strict=True)) for row in rows]

    def is_right(self, answer: Answer) -> None:  # noqa: ARG002
        return None

    def say(self, labels: Values) -> str:
        return ", ".join(self.parts(labels))

    def parts(self, labels: Values) -> list[str]:
        if len(self.names) == 1:
            return [f"{labels[0]:.4g}"]
        return [f"{name} {value:.4g}" for name, value in zip(self.names, labels, strict=True)]

    def farthest(self, said: Values, true: Values) -> list[int]:
        """Give the places of the targets of one image (T,), in the user's units: the farthest off by its spread first."""
        off: Values = np.abs(said - true) / np.array(self.scale.std)
        return np.argsort(-off, kind="stable").tolist()

    def in_units(self, labels: Values) -> Values:
        """Bring standardised numbers (n, T) to the user's units, without the digits that float32 has made up."""
        units: Values = labels.astype(np.float64) * np.array(self.scale.std) + np.array(self.scale.mean)
        places = [min(5 - math.floor(math.log10(std)), 300) for std in self.scale.std]
        return np.stack([np.round(column, place) for column, place in zip(units.T, places, strict=True)], axis=1)

    def heads(self) -> list[str]:
        return [*self.names, *(f"{name} predicted" for name in self.names)]

    def cells(self, answer: Answer, place: int) -> list[str]:
        return list(map(repr, answer.labels[place].tolist() + answer.predicted[place].tolist()))

"""What is asked about an image: how answers are judged, which scores they get, and how they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.metrics.names import MAIN, SCORES, Score
from vit_cli.metrics.score import ScoreSheet
from vit_cli.section import TaskName

Row = dict[str, float | int | str]
Values = NDArray[Any]


class Answer(NamedTuple):
    """What is true and what was said, image by image.

    `labels` and `predicted` are class numbers (n,), marks (n, K) of 0 and 1, or numbers (n, T) in the user's units;
    `confidence` is the probability of the predicted class (n,), of each label (n, K), or nothing (n, 0).
    """

    labels: Values
    predicted: Values
    confidence: Values


class Task(ABC):
    """A kind of question; `names` are the classes, labels or targets, one for each of the model's outputs."""

    name: ClassVar[TaskName]
    shown: tuple[str, ...]
    """The scores on the console and in metrics.csv; the main one first."""
    reported: tuple[str, ...]
    """The scores that `vit eval` gives besides the loss."""
    needs_answers: ClassVar[bool] = False
    """Whether a score takes the answers to all images at once, and not just sums."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @property
    def main(self) -> str:
        """The name of the score that tells which weights are best."""
        return MAIN[self.name]

    @property
    def main_score(self) -> Score:
        """How the main score is called and written."""
        return SCORES[self.main]

    @property
    def detailed(self) -> tuple[str, ...]:
        """The scores that `vit eval` gives besides those, which say more about the same answers."""
        return ()

    @property
    def columns(self) -> int:
        """How many columns a record has."""
        return 2 * len(self.names)

    @abstractmethod
    def sheet(self) -> ScoreSheet:
        """Give the metrics."""

    @abstractmethod
    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of each image (b,), whatever loss was trained with."""

    @abstractmethod
    def record(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give what is kept of the answers to a batch: `columns` for each image (b, c), in float32."""

    @abstractmethod
    def read(self, table: Values) -> Answer:
        """Give the answers to the images whose records are the rows of a table (n, c)."""

    def rank(self, table: Values) -> dict[str, float]:  # noqa: ARG002
        """Give the scores that take the records of all images (n, c)."""
        return {}

    @abstractmethod
    def per_class(self, sheet: ScoreSheet, sums: Tensor, table: Values) -> list[Row]:
        """Score every class, label or target by itself: from the sums, and the records (n, c) of all images."""

    @abstractmethod
    def predict(self, logits: Tensor, top: int | None, threshold: float) -> list[list[tuple[str, float]]]:
        """Name what logits (b, K) say about each image: names with probabilities, likeliest first, or targets with numbers.

        At most `top` classes (None: as suits the task, 0: all), labels only with a probability above `threshold`.
        """

    @abstractmethod
    def is_right(self, answer: Answer) -> NDArray[np.bool_] | None:
        """Tell which images are right in everything (n,); None where nothing is ever quite right."""

    @abstractmethod
    def say(self, labels: Values) -> str:
        """Write the labels of one image, in the user's units, for people."""

    def parts(self, labels: Values) -> list[str]:
        """Write the same in parts, for a narrow place."""
        return [self.say(labels)]

    def in_units(self, labels: Values) -> Values:
        """Bring the labels of a batch to the user's units."""
        return labels

    @abstractmethod
    def heads(self) -> list[str]:
        """Name the columns of a table of answers."""

    @abstractmethod
    def cells(self, answer: Answer, place: int) -> list[str]:
        """Fill these columns for one image, with every digit."""

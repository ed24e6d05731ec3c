"""The scores by name: how each is called, how it is written, and which way is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the command line reads this file for its help, which is there before pydantic would be
    from vit_cli.section import TaskName


class Score(NamedTuple):
    """A kind of score; `form` writes it in a narrow column, one `in_percent` counts up to 100."""

    label: str
    form: str
    width: int
    in_percent: bool = False
    is_better_higher: bool = True

    def write(self, value: float) -> str:
        """Write a value with its unit."""
        return self.form.format(value) + (" %" if self.in_percent else "")

    def say(self, value: float) -> str:
        """Write a value with name and unit: "top-1 97.50 %"."""
        return f"{self.label} {self.write(value)}"


SCORES = {
    "top1": Score("top-1", "{:.2f}", 5, in_percent=True),
    "top5": Score("top-5", "{:.2f}", 5, in_percent=True),
    "real": Score("ReaL", "{:.2f}", 5, in_percent=True),
    "map": Score("mAP", "{:.2f}", 6, in_percent=True),
    "macro_f1": Score("macro F1", "{:.2f}", 8, in_percent=True),
    "micro_f1": Score("micro F1", "{:.2f}", 8, in_percent=True),
    "exact_match": Score("exact match", "{:.2f}", 11, in_percent=True),
    "macro_precision": Score("macro precision", "{:.2f}", 15, in_percent=True),
    "macro_recall": Score("macro recall", "{:.2f}", 12, in_percent=True),
    "ece": Score("ECE", "{:.4f}", 6, is_better_higher=False),
    "r2": Score("R²", "{:.4f}", 7),
    "rmse": Score("RMSE", "{:.4g}", 9, is_better_higher=False),
    "mae": Score("MAE", "{:.4g}", 9, is_better_higher=False),
    "loss": Score("loss", "{:.4f}", 6, is_better_higher=False),
}
WORDS: dict[TaskName, str] = {"classification": "classes", "multilabel": "labels", "regression": "targets"}
"""What the model's outputs are called, for each task."""
MAIN: dict[TaskName, str] = {"classification": "top1", "multilabel": "map", "regression": "r2"}
"""The score that tells which weights are best, for each task; more of it is better."""


def says_something(score: str, classes: int) -> bool:
    """Tell whether a score can differ between models: top-5 is always 100 % among up to five classes; 0 is unknown."""
    return score != "top5" or classes not in range(1, 6)

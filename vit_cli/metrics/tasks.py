"""The tasks by name."""

from __future__ import annotations

from collections.abc import Sequence

from vit_cli.metrics.classification import Classification
from vit_cli.metrics.multilabel import Multilabel
from vit_cli.metrics.regression import Regression
from vit_cli.metrics.task import Task
from vit_cli.section import Scale, TaskName


def make_task(name: TaskName, names: Sequence[str], scale: Scale | None = None) -> Task:
    """Give the task of that name; `scale` is for regression alone, which needs it."""
    if name == "regression":
        if scale is None or not len(scale.mean) == len(scale.std) == len(names):
            raise ValueError(f"a scale for each of {len(names)} targets is needed.")
        return Regression(names, scale)
    return Multilabel(names) if name == "multilabel" else Classification(names)

"""The folder of `vit eval --out`: numbers for programs, tables, and pictures of what went wrong."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vit_cli.checkpoint.commit import commit, commit_json
from vit_cli.data.samples import Samples
from vit_cli.errors import TrainingError, UsageError
from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.evaluate.saved import Ready
from vit_cli.metrics.calibration import list_bins
from vit_cli.metrics.task import Task
from vit_cli.report.calibration import draw_reliability
from vit_cli.report.confusion import draw_confusion
from vit_cli.report.sheets import See, draw_mistakes, see_sample


def write_evaluation(
    folder: Path, document: Mapping[str, Any], evaluation: Evaluation, ready: Ready, samples: Samples
) -> None:
    """Write what an evaluation found to `folder`, which is made; what does not apply to the task is left out.

    `document` is evaluation.json. Raises UsageError if the place can't be written; each
    file is whole or not there.
    """
    names = ready.class_names
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if evaluation.per_class:
            rows = [list(row.values()) for row in evaluation.per_class]
            write_csv(folder / "per_class.csv", list(evaluation.per_class[0]), rows)
        if evaluation.confusion is not None:
            counts = evaluation.confusion.cpu().long().tolist()
            rows = [[name, *row] for name, row in zip(names, counts, strict=True)]
            write_csv(folder / "confusion.csv", ["true / predicted", *names], rows)
            draw_confusion(evaluation.confusion, names, folder / "confusion_matrix.png")
        if evaluation.calibration is not None and (bins := list_bins(evaluation.calibration)):
            draw_reliability(bins, evaluation.scores["ece"], folder / "reliability.png")
        if evaluation.answers is not None:
            draw_worst(folder, evaluation.answers, ready.task, partial(see_sample, ready, samples))
        commit_json(folder / "evaluation.json", document, indent=2)
    except TrainingError as error:
        raise UsageError(error.problem, "Is the disk full or read-only?") from error
    except OSError as error:
        raise UsageError(f"--out {folder} can't be made: {error.strerror}", "Name another folder.") from error


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all."""

    def write(aside: Path) -> None:
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows(rows)

    commit(path, write)


def draw_worst(folder: Path, answers: Answers, task: Task, see: See) -> None:
    """Draw the mistakes with the highest loss, and of classes those of which the model was surest."""
    draw_mistakes(folder / "worst.png", answers.losses, "the highest loss first", answers, task, see)
    if answers.confidence.ndim == 1:
        order = "those of which the model was surest first"
        draw_mistakes(folder / "confident_mistakes.png", answers.confidence, order, answers, task, see)

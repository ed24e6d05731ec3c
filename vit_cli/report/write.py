"""Writing the report of a run into its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.metrics.task import Answer, Task
from vit_cli.report.card import write_card
from vit_cli.report.confusion import confused_pairs, draw_confusion
from vit_cli.report.curves import draw_curves
from vit_cli.report.page import write_page
from vit_cli.report.pictures import draw_grid
from vit_cli.report.record import read_record
from vit_cli.report.scatter import draw_scatter
from vit_cli.train.folder import RunFolder

Picture = Callable[[int], Tensor]
"""Gives validation image number `index` as uint8 (3, h, w), the way the model sees it."""
SHOWN, WORST, BATCH, PAIRS = 40, 24, 32, 10


def write_report(folder: RunFolder, evaluation: Evaluation | None = None, picture: Picture | None = None) -> Path:
    """Write curves, confusion matrix or scatter, samples, README.md and report.html; give the path of the page.

    `evaluation` is that of the weights in `model/`. A part whose source is missing (a run that crashed, no evaluation,
    no pictures) is left out; pictures of an earlier report stay. Raises TrainingError if the folder can't be written.
    """
    record = read_record(folder)
    pairs = []
    draw_curves(folder.path / "metrics.csv", folder.path / "steps.jsonl", folder.path / "plots/curves.png")
    if evaluation and evaluation.confusion is not None and record.class_names:
        draw_confusion(evaluation.confusion, record.class_names, folder.path / "plots/confusion_matrix.png")
        pairs = confused_pairs(evaluation.confusion, record.class_names, PAIRS)
    task, answers = record.task, evaluation.answers if evaluation else None
    if task and answers and task.name == "regression":
        draw_scatter(answers.answer, record.class_names, folder.path / "plots/scatter.png")
    if task and answers and picture:
        draw_answers(folder.path / "samples", answers, task, picture)
    folder.write_text("README.md", write_card(record, evaluation))
    folder.write_text(folder.report.name, write_page(record, evaluation, pairs))
    return folder.report


def write_train_batch(folder: RunFolder, images: Tensor, captions: Sequence[str]) -> None:
    """Draw the first images of a training batch, uint8 (n, 3, h, w), as the model gets them."""
    draw_grid(
        images[:BATCH],
        captions[:BATCH],
        folder.path / "samples/train_batch.png",
        title="The first training images, as the model sees them",
    )


def draw_answers(folder: Path, answers: Answers, task: Task, picture: Picture) -> None:
    """Draw answers to images spread evenly over the data, and the wrong ones with the highest loss.

    Where nothing is quite right, these are the ones with the highest loss of all.
    """
    total = len(answers.indices)
    right = task.is_right(answers.answer)
    spread = np.unique(np.linspace(0, total - 1, min(SHOWN, total)).round().astype(int)).tolist()
    wrong = np.arange(total) if right is None else np.flatnonzero(~right)
    worst = wrong[np.argsort(-answers.losses[wrong], kind="stable")][:WORST].tolist()
    what = "answers" if right is None else "mistakes"
    titles = {
        "predictions.png": (spread, f"{len(spread)} of {total:,} validation images"),
        "worst.png": (worst, f"{len(worst)} of {len(wrong):,} {what}, the worst first"),
    }
    for name, (chosen, title) in titles.items():
        if not chosen:
            (folder / name).unlink(missing_ok=True)
            continue
        draw_grid(
            torch.stack([picture(int(answers.indices[i])) for i in chosen]),
            [caption(answers, i, task) for i in chosen],
            folder / name,
            title=title,
            marks=None if right is None else right[chosen].tolist(),
        )


def caption(answers: Answers, place: int, task: Task) -> str:
    """Say what the model answered, how sure it was of a class, and if it was wrong what is right."""
    said, true = task.say(answers.predicted[place]), task.say(answers.labels[place])
    right = task.is_right(Answer(*(column[place : place + 1] for column in answers.answer)))
    if right is None:
        return f"{said}\nis {true}"
    sure = f" {answers.confidence[place]:.0%}" if answers.confidence.ndim == 1 else ""
    return f"✓ {said}{sure}" if right[0] else f"✗ {said}{sure}\nis {true}"

"""Writing the report of a run into its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.report.card import write_card
from vit_cli.report.confusion import confused_pairs, draw_confusion
from vit_cli.report.curves import draw_curves
from vit_cli.report.page import write_page
from vit_cli.report.pictures import draw_grid
from vit_cli.report.record import read_record
from vit_cli.train.folder import RunFolder

Picture = Callable[[int], Tensor]
"""Gives validation image number `index` as uint8 (3, h, w), the way the model sees it."""
SHOWN, WORST, BATCH, PAIRS = 40, 24, 32, 10


def write_report(folder: RunFolder, evaluation: Evaluation | None = None, picture: Picture | None = None) -> Path:
    """Write curves, confusion matrix, samples, README.md and report.html; give the path of the page.

    `evaluation` is that of the weights in `model/`. A part whose source is missing (a run that crashed, no evaluation,
    no pictures) is left out; pictures of an earlier report stay. Raises TrainingError if the folder can't be written.
    """
    record = read_record(folder)
    pairs = []
    draw_curves(folder.path / "metrics.csv", folder.path / "steps.jsonl", folder.path / "plots/curves.png")
    if evaluation and evaluation.confusion is not None and record.class_names:
        draw_confusion(evaluation.confusion, record.class_names, folder.path / "plots/confusion_matrix.png")
        pairs = confused_pairs(evaluation.confusion, record.class_names, PAIRS)
    if evaluation and evaluation.answers and picture and record.class_names:
        draw_answers(folder.path / "samples", evaluation.answers, record.class_names, picture)
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


def draw_answers(folder: Path, answers: Answers, class_names: Sequence[str], picture: Picture) -> None:
    """Draw answers to images spread evenly over the data, and the wrong ones with the highest loss."""
    total = len(answers.indices)
    spread = np.unique(np.linspace(0, total - 1, min(SHOWN, total)).round().astype(int)).tolist()
    wrong = np.flatnonzero(answers.predicted != answers.labels)
    worst = wrong[np.argsort(-answers.losses[wrong], kind="stable")][:WORST].tolist()
    titles = {
        "predictions.png": (spread, f"{len(spread)} of {total:,} validation images"),
        "worst.png": (worst, f"{len(worst)} of {len(wrong):,} mistakes, the worst first"),
    }
    for name, (chosen, title) in titles.items():
        if not chosen:
            (folder / name).unlink(missing_ok=True)
            continue
        draw_grid(
            torch.stack([picture(int(answers.indices[i])) for i in chosen]),
            [caption(answers, i, class_names) for i in chosen],
            folder / name,
            title=title,
            marks=[bool(answers.predicted[i] == answers.labels[i]) for i in chosen],
        )


def caption(answers: Answers, place: int, class_names: Sequence[str]) -> str:
    """Say what the model answered, how sure it was, and if it was wrong what is right."""
    predicted, label = class_names[answers.predicted[place]], class_names[answers.labels[place]]
    sure = f"{answers.confidence[place]:.0%}"
    return f"✓ {predicted} {sure}" if predicted == label else f"✗ {predicted} {sure}\nis {label}"

"""Writing the report of a run into its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from vit_cli.checkpoint.commit import commit
from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.inspect.style import wrap
from vit_cli.metrics.calibration import list_bins
from vit_cli.metrics.regression import Regression
from vit_cli.metrics.task import Answer, Task, Values
from vit_cli.report.calibration import draw_reliability
from vit_cli.report.card import write_card
from vit_cli.report.confusion import confused_pairs, draw_confusion
from vit_cli.report.curves import chart_curves, choose_panels, draw_curves
from vit_cli.report.judged import keep_evaluation, read_evaluation
from vit_cli.report.origin import find_borders
from vit_cli.report.page import Charts, write_page
from vit_cli.report.pictures import draw_grid, fit, letters
from vit_cli.report.record import Record, read_record, read_steps
from vit_cli.report.scatter import draw_scatter
from vit_cli.train.folder import RunFolder

Picture = Callable[[int], Tensor]
"""Gives validation image number `index` as uint8 (3, h, w), the way the model sees it."""
SHOWN, WORST, BATCH, PAIRS = 40, 24, 32, 10
LINES, TARGETS = 3, 2
"""Of a caption: lines that labels may fill, and targets that are told."""


def write_report(
    folder: RunFolder, evaluation: Evaluation | None = None, picture: Picture | None = None, page: Path | None = None
) -> Path:
    """Write curves, confusion matrix or scatter, samples, README.md and report.html; give the path of the page.

    `evaluation` is that of the weights in `model/`, which is kept; without it, one that was kept before is told. A part
    whose source is missing (a run that crashed, no evaluation, no pictures) is left out; samples of an earlier report
    stay. Another place for the `page` leaves the rest of the folder as it is. Raises TrainingError for what can't be
    written.
    """
    record = read_record(folder)
    task, answers = record.task, evaluation.answers if evaluation else None
    if evaluation and page is None:
        keep_evaluation(folder, evaluation, record.best_step)
    judged = evaluation or read_evaluation(record)
    with nullcontext(folder.path) if page is None else scratch() as place:
        if task and answers and task.name == "regression":
            draw_scatter(answers.answer, record.class_names, place / "plots/scatter.png")
        if task and answers and picture:
            draw_answers(place / "samples", answers, task, picture)
        charts = draw_charts(record, judged, place / "plots")
        html = write_page(record, judged, charts, place if answers else folder.path)
    if page is None:
        folder.write_text("README.md", write_card(record, judged))
    target = page or folder.report
    commit(target, lambda aside: aside.write_text(html, encoding="utf-8"))
    return target


@contextmanager
def scratch() -> Iterator[Path]:
    """Lend a folder that is gone after the block."""
    with TemporaryDirectory() as path:
        yield Path(path)


def draw_charts(record: Record, evaluation: Evaluation | None, plots: Path) -> Charts:
    """Draw curves, confusion matrix and calibration, as PNG into a folder and as SVG for the page."""
    panels = choose_panels(record.rows, read_steps(record.path / "steps.jsonl"))
    borders = find_borders(record)
    draw_curves(panels, borders, plots / "curves.png")
    charts = Charts(chart_curves(panels, borders))
    names, matrix = record.class_names, evaluation.confusion if evaluation else None
    if matrix is not None and names:
        confusion = draw_confusion(matrix, names, plots / "confusion_matrix.png")
        charts = replace(charts, confusion=confusion, pairs=confused_pairs(matrix, names, PAIRS))
    if evaluation and evaluation.calibration is not None:
        bins, ece = list_bins(evaluation.calibration), evaluation.scores["ece"]
        charts = replace(charts, reliability=draw_reliability(bins, ece, plots / "reliability.png"))
    return charts


def write_train_batch(folder: RunFolder, images: Tensor, labels: Tensor, task: Task) -> None:
    """Draw the first images of a training batch, uint8 (n, 3, h, w) with its labels, as the model gets them."""
    room = measure(images[0])
    draw_grid(
        images[:BATCH],
        ["\n".join(wrap(task.parts(label), room, LINES)) for label in task.in_units(labels[:BATCH].numpy())],
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
        images = torch.stack([picture(int(answers.indices[i])) for i in chosen])
        draw_grid(
            images,
            [caption(answers, i, task, measure(images[0])) for i in chosen],
            folder / name,
            title=title,
            marks=None if right is None else right[chosen].tolist(),
        )


def measure(image: Tensor) -> int:
    """Count the letters of a line under an image (3, h, w)."""
    return letters(fit(image.permute(1, 2, 0).cpu().numpy()).shape[1])


def caption(answers: Answers, place: int, task: Task, room: int) -> str:
    """Say in lines of `room` letters what the model answered, how sure it was of a class, and if it was wrong what is right."""
    said, true = answers.predicted[place], answers.labels[place]
    if isinstance(task, Regression):
        return compare(said, true, task, room)
    right = task.is_right(Answer(*(column[place : place + 1] for column in answers.answer)))
    sure = f" {answers.confidence[place]:.0%}" if answers.confidence.ndim == 1 else ""
    mark = "✓" if right is not None and right[0] else "✗"
    parts = task.parts(said)
    lines = wrap([f"{mark} {parts[0]}{sure}", *parts[1:]], room, LINES)
    if mark == "✗":
        parts = task.parts(true)
        lines += wrap([f"is {parts[0]}", *parts[1:]], room, LINES)
    return "\n".join(lines)


def compare(said: Values, true: Values, task: Regression, room: int) -> str:
    """Set numbers beside the true ones; of several targets those two that are farthest off, each under its name."""
    if len(task.names) == 1:
        return f"{said[0]:.4g}\nis {true[0]:.4g}"
    lines = []
    for place in task.farthest(said, true)[:TARGETS]:
        lines += [task.names[place], *wrap([f"{said[place]:.4g}", f"is {true[place]:.4g}"], room, most=2)]
    left = len(task.names) - TARGETS
    return "\n".join([*lines, *([f"+{left}"] if left > 0 else [])])

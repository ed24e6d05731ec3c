"""Writing the report of a run into its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from vit_cli.checkpoint.commit import commit
from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.inspect.style import wrap
from vit_cli.metrics.calibration import list_bins
from vit_cli.metrics.task import Task
from vit_cli.report.calibration import draw_reliability
from vit_cli.report.card import write_card
from vit_cli.report.confusion import confused_pairs, draw_confusion
from vit_cli.report.curves import chart_curves, choose_panels, draw_curves
from vit_cli.report.judged import keep_evaluation, read_evaluation
from vit_cli.report.origin import find_borders
from vit_cli.report.page import Charts, write_page
from vit_cli.report.pictures import draw_grid
from vit_cli.report.record import Record, read_record, read_steps
from vit_cli.report.scatter import draw_scatter
from vit_cli.report.sheets import LINES, See, draw_mistakes, draw_sheet, measure
from vit_cli.train.folder import RunFolder

SHOWN, BATCH, PAIRS = 40, 32, 10


def write_report(
    folder: RunFolder, evaluation: Evaluation | None = None, see: See | None = None, page: Path | None = None
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
        if task and answers and see:
            draw_answers(place / "samples", answers, task, see)
        charts = draw_charts(record, judged, place / "plots")
        html = write_page(record, judged, charts, place if answers else folder.path)
    if page is None:
        folder.write_text("README.md", write_card(record, judged))
    target = page or folder.report
    commit(page.resolve() if page else target, lambda aside: aside.write_text(html, encoding="utf-8"))
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


def draw_answers(folder: Path, answers: Answers, task: Task, see: See) -> None:
    """Draw answers to images spread evenly over the data, and the wrong ones with the highest loss."""
    total = len(answers.indices)
    spread = np.unique(np.linspace(0, total - 1, min(SHOWN, total)).round().astype(int)).tolist()
    title = f"{len(spread)} of {total:,} validation images"
    draw_sheet(folder / "predictions.png", spread, title, answers, task, see)
    draw_mistakes(folder / "worst.png", answers.losses, "the highest loss first", answers, task, see)

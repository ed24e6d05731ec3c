"""The curves of a run: how losses, scores, learning rate, gradient and speed went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib.axes
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from vit_cli.inspect.style import BLUE, FAINT, GREEN, ORANGE, VIOLET, drawing, save
from vit_cli.metrics.names import SCORES
from vit_cli.report.record import Numbers
from vit_cli.report.svg import to_svg

FEW = 40
"""So many points still get a dot each."""
BINS = 300
"""Of more than twice as many points, neighbours are drawn as their mean, between their least and their most."""
LEFT, RIGHT, TOP, BOTTOM = 0.72, 0.2, 0.3, 0.5
"""Inches around a diagram for its words; to have matplotlib measure them takes as long as to draw them."""
TITLE = 1.0
"""Above the top of a diagram: given, since to find it all words above the diagram are measured."""
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One curve: the column `key` of `rows`, times `scale`."""

    rows: Sequence[Numbers]
    key: str
    label: str
    color: str
    scale: float = 1.0
    is_faint: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        return [(row["epoch"], self.scale * row[self.key]) for row in self.rows if "epoch" in row and self.key in row]


@dataclass(frozen=True)
class Panel:
    """One small diagram."""

    title: str
    lines: Sequence[Line]
    starts_at_zero: bool = False
    marks_best: bool = False
    is_logarithmic: bool = False


def draw_curves(panels: Sequence[Panel], borders: Sequence[float], out_png: Path) -> None:
    """Draw all diagrams as one picture, 1650 pixels wide, with a line at the epochs of `borders`; without any, draw nothing."""
    if not panels:
        return
    rows, end = (len(panels) + 1) // 2, find_end(panels)
    with drawing():
        figure = Figure(figsize=(11, 2.75 * rows))
        for number, panel in enumerate(panels):
            draw_panel(add_axes(figure, Cell(*divmod(number, 2)), Cell(rows, 2)), panel, borders, end)
        save(figure, out_png)


def chart_curves(panels: Sequence[Panel], borders: Sequence[float]) -> list[str]:
    """Give each diagram as SVG."""
    charts, end = [], find_end(panels)
    for panel in panels:
        with drawing():
            figure = Figure(figsize=(5.6, 2.9))
            draw_panel(add_axes(figure, Cell(0, 0), Cell(1, 1)), panel, borders, end)
            charts.append(to_svg(figure, panel.title))
    return charts


def find_end(panels: Sequence[Panel]) -> float:
    """Give the last epoch of any line, to which all diagrams reach, so that the same time is at the same place."""
    return max((line.points[-1][0] for panel in panels for line in panel.lines if line.points), default=0.0)


class Cell(NamedTuple):
    """A place among equal cells, from the top left, or how many there are."""

    row: int
    column: int


def add_axes(figure: Figure, place: Cell, cells: Cell) -> matplotlib.axes.Axes:
    """Add a diagram with room for its words in one of the `cells` of a figure."""
    width, height = figure.get_size_inches()
    wide, high = width / cells.column, height / cells.row
    left, bottom = place.column * wide + LEFT, (cells.row - 1 - place.row) * high + BOTTOM
    return figure.add_axes(
        (left / width, bottom / height, (wide - LEFT - RIGHT) / width, (high - TOP - BOTTOM) / height)
    )


def choose_panels(rows: Sequence[Numbers], steps: Sequence[Numbers]) -> list[Panel]:
    """Lay out the panels that have points; speed and learning rate come from the finer of the two records."""
    finest = steps or rows
    is_open = any(row.get("top5", 100.0) < 100.0 for row in rows)  # five classes or fewer leave nothing to see
    panels = [
        Panel(
            "Loss",
            [
                Line(steps, "loss", "training, single steps", BLUE, is_faint=True),
                Line(rows, "train_loss", "training", BLUE),
                Line(rows, "val_loss", "validation", ORANGE),
            ],
        ),
        Panel(
            "Accuracy (%)",
            [Line(rows, "top1", "top-1", GREEN), *([Line(rows, "top5", "top-5", FAINT)] if is_open else [])],
            marks_best=True,
        ),
        Panel(
            "Labels found (%)",
            [Line(rows, "map", "mAP", GREEN), Line(rows, "macro_f1", "macro F1", FAINT)],
            marks_best=True,
        ),
        Panel("R²", [Line(rows, "r2", "", GREEN)], marks_best=True),
        Panel("RMSE", [Line(rows, "rmse", "", GREEN)], starts_at_zero=True),
        Panel("Learning rate", [Line(finest, "lr", "", VIOLET)], starts_at_zero=True),
        Panel("Gradient norm", [Line(steps, "grad_norm", "", BLUE)], is_logarithmic=True),
        Panel("Images per second", [Line(finest, "images_per_second", "", GREEN)], starts_at_zero=True),
        Panel("Waiting for data (% of the time)", [Line(finest, "wait", "", ORANGE, scale=100)], starts_at_zero=True),
    ]
    return [panel for panel in panels if any(line.points for line in panel.lines)]


def draw_panel(axes: matplotlib.axes.Axes, panel: Panel, borders: Sequence[float] = (), end: float = 0.0) -> None:
    """Draw one diagram over epochs, from 0 to `end` if that is known."""
    if end > 0:
        axes.set_xlim(-0.03 * end, 1.03 * end)
    drawn = [line for line in panel.lines if line.points]
    heights = np.concatenate([draw_line(axes, line) for line in drawn])
    if panel.is_logarithmic and heights.min() > 0 and heights.max() > 20 * heights.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if panel.starts_at_zero:
        axes.set_ylim(0, 1.08 * heights.max() or 1)
    for epoch in borders:
        axes.axvline(epoch, color=FAINT, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_title(panel.title, y=TITLE)
    axes.yaxis.get_offset_text().set(horizontalalignment="right", x=-0.01)  # "1e-5" stands beside the title, not in it
    axes.set_xlabel("epoch")
    if panel.marks_best and panel.lines[0].points:
        mark_best(axes, panel.lines[0])
    if len(drawn) > 1:
        axes.legend()


def draw_line(axes: matplotlib.axes.Axes, line: Line) -> Values:
    """Draw one curve; give the heights that it fills."""
    x, least, mean, most = thin(np.array(line.points))
    alpha = 0.35 if line.is_faint else 1.0
    if len(x) < len(line.points):
        axes.fill_between(x, least, most, color=line.color, alpha=0.15, linewidth=0)
    dot = "o" if len(x) <= FEW else ""
    axes.plot(x, mean, color=line.color, label=line.label, alpha=alpha, marker=dot, markersize=3)
    return np.concatenate([least, most])


def thin(points: Values) -> tuple[Values, Values, Values, Values]:
    """Give x, and the least, mean and greatest y of points (n, 2): of very many, neighbours together."""
    bins = np.arange(len(points))
    if len(points) > 2 * BINS:
        bins = bins * BINS // len(points)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    count = np.diff(np.append(starts, len(points)))
    x, mean = np.add.reduceat(points, starts).T / count
    return x, np.minimum.reduceat(points[:, 1], starts), mean, np.maximum.reduceat(points[:, 1], starts)


def mark_best(axes: matplotlib.axes.Axes, line: Line) -> None:
    """Ring the score of the best weights and name it; where no row says which those are, the highest."""
    marked = [row for row in line.rows if row.get("best") and "epoch" in row and line.key in row]
    best_row = marked[-1] if marked else None
    highest = max(line.points, key=lambda point: point[1])
    epoch, score = (best_row["epoch"], line.scale * best_row[line.key]) if best_row else highest
    best = SCORES[line.key].form.format(score)
    axes.plot([epoch], [score], "o", markersize=8, markerfacecolor="none", markeredgecolor=GREEN, markeredgewidth=1.4)
    text = f"best {best} at epoch {epoch:.3g}"
    axes.set_title(text, y=TITLE, loc="right", color=GREEN, fontsize=9, fontweight="normal")

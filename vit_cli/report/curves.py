"""The curves of a run: how losses, accuracy, learning rate, gradient and speed went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter

from vit_cli.inspect.style import BLUE, FAINT, GREEN, ORANGE, VIOLET, drawing, save
from vit_cli.metrics.names import SCORES
from vit_cli.report.record import Numbers, read_metrics, read_steps

FEW = 40
"""So many points still get a dot each."""


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


def draw_curves(metrics_csv: Path, steps_jsonl: Path, out_png: Path) -> bool:
    """Draw all curves that the two files hold, 1650 pixels wide; without any point draw nothing and give False."""
    panels = choose_panels(read_metrics(metrics_csv), read_steps(steps_jsonl))
    if not panels:
        return False
    rows = (len(panels) + 1) // 2
    with drawing():
        figure = Figure(figsize=(11, 0.4 + 2.6 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        for number, panel in enumerate(panels, start=1):
            draw_panel(figure.add_subplot(rows, 2, number), panel)
        save(figure, out_png)
    return True


def choose_panels(rows: Sequence[Numbers], steps: Sequence[Numbers]) -> list[Panel]:
    """Lay out the panels that have points; speed and learning rate come from the finer of the two records."""
    finest = steps or rows
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
            "Accuracy (%)", [Line(rows, "top1", "top-1", GREEN), Line(rows, "top5", "top-5", FAINT)], marks_best=True
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


def draw_panel(axes: matplotlib.axes.Axes, panel: Panel) -> None:
    """Draw one diagram over epochs."""
    drawn = [line for line in panel.lines if line.points]
    for line in drawn:
        x, y = zip(*line.points, strict=True)
        axes.plot(
            x,
            y,
            color=line.color,
            label=line.label,
            alpha=0.35 if line.is_faint else 1.0,
            marker="o" if len(x) <= FEW else "",
            markersize=3,
        )
    heights = [y for line in drawn for _, y in line.points]
    if panel.is_logarithmic and min(heights) > 0 and max(heights) > 20 * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if panel.starts_at_zero:
        axes.set_ylim(0, 1.08 * max(heights) or 1)
    axes.set_title(panel.title)
    axes.set_xlabel("epoch")
    if panel.marks_best:
        mark_best(axes, panel.lines[0])
    if len(drawn) > 1:
        axes.legend()


def mark_best(axes: matplotlib.axes.Axes, line: Line) -> None:
    """Ring the highest score and name it."""
    epoch, score = max(line.points, key=lambda point: point[1])
    best = SCORES[line.key].form.format(score)
    axes.plot([epoch], [score], "o", markersize=8, markerfacecolor="none", markeredgecolor=GREEN, markeredgewidth=1.4)
    axes.set_title(f"best {best} at epoch {epoch:.3g}", loc="right", color=GREEN, fontsize=9, fontweight="normal")

"""Predicted numbers against true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vit_cli.inspect.style import BLUE, FAINT, drawing, save, shorten
from vit_cli.metrics.task import Answer

MOST_TARGETS, MOST_POINTS = 6, 5000
LONGEST_NAME = 40


def draw_scatter(answer: Answer, names: Sequence[str], out_png: Path) -> None:
    """Draw a diagram for each of the first targets; where predictions are right, points lie on the diagonal.

    Of very many images an even choice is drawn.
    """
    count = min(len(names), MOST_TARGETS)
    columns = min(count, 3)
    rows = -(-count // columns)
    chosen = np.unique(np.linspace(0, len(answer.labels) - 1, MOST_POINTS).round().astype(int))
    with drawing():
        figure = Figure(figsize=(4.2 * columns, 4.2 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        for place in range(count):
            true, said = answer.labels[chosen, place], answer.predicted[chosen, place]
            axes = figure.add_subplot(rows, columns, place + 1)
            ends = [min(true.min(), said.min()), max(true.max(), said.max())]
            axes.plot(ends, ends, color=FAINT, linewidth=1)
            axes.plot(true, said, "o", color=BLUE, markersize=3, alpha=0.4, markeredgewidth=0)
            axes.set(title=shorten(names[place], LONGEST_NAME), xlabel="true", ylabel="predicted")
        save(figure, out_png)

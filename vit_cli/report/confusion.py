"""The confusion matrix as a picture, and the pairs of classes that are confused most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.inspect.style import BLUE, FAINT, GRID, INK, RED, drawing, save, shorten
from vit_cli.report.svg import to_svg

Counts = NDArray[np.float64]
WITH_COUNTS, MOST = 20, 30
LONGEST_NAME = 22


class Pair(NamedTuple):
    """So often was an image of one class taken for another; `images` images are of the true class."""

    true: str
    predicted: str
    times: int
    images: int


def confused_pairs(matrix: Tensor, class_names: Sequence[str], limit: int) -> list[Pair]:
    """List the most frequent confusions of a matrix (K, K) of counts (rows are true), the most frequent first."""
    counts = as_counts(matrix)
    pairs = ranked_pairs(counts)[:limit]
    images = counts.sum(axis=1)
    return [Pair(class_names[t], class_names[p], int(counts[t, p]), int(images[t])) for t, p in pairs]


def draw_confusion(matrix: Tensor, class_names: Sequence[str], out_png: Path) -> str:
    """Draw a matrix (K, K) of counts, rows are true: blue for right, red for wrong, by the share of the row; give it as SVG.

    Up to 20 classes show counts; of more than 30 only those that are confused most.
    """
    counts = as_counts(matrix)
    images = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, images, out=np.zeros_like(counts), where=images > 0)
    chosen = most_confused(counts, MOST)
    names = [shorten(class_names[i], LONGEST_NAME) for i in chosen]
    part = np.ix_(chosen, chosen)
    side = max(4.4, len(chosen) * (0.37 if len(chosen) <= WITH_COUNTS else 0.24) + 1.4)
    with drawing():
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        paint(axes, shares[part])
        label(axes, names)
        if len(chosen) <= WITH_COUNTS:
            write_counts(axes, counts[part], shares[part])
        note = "" if len(chosen) == len(counts) else f"the {len(chosen)} of {len(counts)} classes confused most; "
        title = f"{note}blue: right, red: wrong; the darker, the more of the row"
        figure.suptitle(title, fontsize=8.5, color=FAINT)
        save(figure, out_png)
        return to_svg(figure, "Confusion matrix")


def as_counts(matrix: Tensor) -> Counts:
    counts: Counts = matrix.detach().cpu().double().numpy()
    return counts


def ranked_pairs(counts: Counts) -> list[tuple[int, int]]:
    """Give the cells off the diagonal that are not empty, highest count first."""
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    return [(int(cell) // len(counts), int(cell) % len(counts)) for cell in order]


def most_confused(counts: Counts, limit: int) -> list[int]:
    """Choose up to `limit` classes, in their order: those of the most frequent confusions, then the first ones."""
    chosen: dict[int, None] = {}
    for pair in ranked_pairs(counts):
        if len(chosen | dict.fromkeys(pair)) <= limit:
            chosen |= dict.fromkeys(pair)
    rest = (number for number in range(len(counts)) if number not in chosen)
    chosen |= dict.fromkeys([number for number, _ in zip(rest, range(limit - len(chosen)), strict=False)])
    return sorted(chosen)


def paint(axes: Axes, shares: Counts) -> None:
    """Fill the cells of shares (k, k), the more the darker, whatever is behind them."""
    strength = strengths(shares)
    for row, column in np.argwhere(shares > 0).tolist():
        color = BLUE if row == column else RED
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, alpha=strength[row, column], linewidth=0))


def strengths(shares: Counts) -> Counts:
    """Turn shares (k, k) into opacities; small shares of errors are lifted so that they can be seen."""
    return np.where(np.eye(len(shares), dtype=bool), 0.85 * shares, 0.9 * np.sqrt(shares))


def label(axes: Axes, names: Sequence[str]) -> None:
    """Name rows and columns."""
    size = 8.5 if len(names) <= WITH_COUNTS else 7
    is_long = max(map(len, names)) > 2
    axes.set_xticks(range(len(names)), names, rotation=90 if is_long else 0, fontsize=size, color=INK)
    axes.set_yticks(range(len(names)), names, fontsize=size, color=INK)
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(visible=False)
    edges, last = np.arange(len(names) + 1) - 0.5, len(names) - 0.5
    axes.hlines(edges, -0.5, last, color=GRID, linewidth=0.6)
    axes.vlines(edges, -0.5, last, color=GRID, linewidth=0.6)
    axes.set(xlim=(-0.5, last), ylim=(last, -0.5), aspect="equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def write_counts(axes: Axes, counts: Counts, shares: Counts) -> None:
    """Write the count into each cell that is not empty."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            is_dark = shares[row, column] > (0.55 if row == column else 0.35)
            color = "white" if is_dark else INK
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8, color=color)

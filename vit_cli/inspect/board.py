"""A picture laid out in pixels from its top left corner: images, words and diagrams that never run into each other."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vit_cli.inspect.style import DPI, FAINT, INK, drawing, save, shorten

Pixels = NDArray[np.uint8]
SINGLE, HALF = 1428, 840
"""The width of what is drawn of one model, and of each of two side by side."""
MARGIN, GAP, LINE = 36, 12, 26
LETTER, WIDE = 10.6, 12.0
"""In pixels: around everything, between pictures, a line of text; the mean width of a letter, and that of a digit."""
LEFT, BELOW, ABOVE = 96, 74, 40
"""In pixels: the room that a diagram needs around its axes, for ticks and labels, and for a legend above."""


class Words(NamedTuple):
    """A line of text whose top is at y; x is its left end, its middle or its right end."""

    x: float
    y: float
    text: str
    color: str
    size: float
    weight: str
    align: str


class Plot(NamedTuple):
    """A diagram and the box of its axes."""

    x: float
    y: float
    width: float
    height: float
    draw: Callable[[Axes], None]


class Board:
    """A white board of a given width that grows in height with what is put on it."""

    def __init__(self, width: int) -> None:
        self.width, self.height = width, 0
        self.images: list[tuple[int, int, Pixels]] = []
        self.words: list[Words] = []
        self.plots: list[Plot] = []

    def lay(self, x: int, y: int, pixels: Pixels) -> None:
        """Lay an image (rows, columns, 3) down."""
        self.images.append((x, y, pixels))
        self.height = max(self.height, y + pixels.shape[0])

    def write(
        self,
        x: float,
        y: float,
        text: str,
        color: str = FAINT,
        size: float = 9,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """Write a line."""
        self.words.append(Words(x, y, text, color, size, weight, align))
        self.height = max(self.height, round(y) + LINE)

    def write_lines(self, x: float, y: float, text: str, width: float, color: str = FAINT) -> None:
        """Write text in as many lines of this width as it needs."""
        for place, line in enumerate(wrap_words(text, width)):
            self.write(x, y + place * LINE, line, color)

    def plot(self, x: int, y: int, width: int, height: int, draw: Callable[[Axes], None]) -> None:
        """Draw a diagram into a box that has room for its labels, too."""
        self.plots.append(Plot(x + LEFT, y + ABOVE, width - LEFT - GAP, height - ABOVE - BELOW, draw))
        self.height = max(self.height, y + height)

    def frame(self, x: int, y: int, width: int, height: int, draw: Callable[[Axes], None]) -> None:
        """Draw something without labels into a box."""
        self.plots.append(Plot(x, y, width, height, draw))
        self.height = max(self.height, y + height)

    def put(self, x: int, y: int, other: Board) -> None:
        """Put all of another board on this one."""
        self.images += [(x + left, y + top, pixels) for left, top, pixels in other.images]
        self.words += [words._replace(x=words.x + x, y=words.y + y) for words in other.words]
        self.plots += [plot._replace(x=plot.x + x, y=plot.y + y) for plot in other.plots]
        self.height = max(self.height, y + other.height)

    def stack(self, other: Board, heading: str = "") -> None:
        """Put another board below everything, under a heading if it has one."""
        top = self.height + 2 * GAP if self.height else 0
        if heading:
            self.write(0, top, shorten(heading, int(self.width / WIDE)), INK, weight="bold")
            top = self.height + 6
        self.put(0, top, other)

    def save(self, path: Path) -> None:
        """Write it as PNG, whole or not at all; TrainingError if the place can't be written."""
        canvas: Pixels = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        for x, y, pixels in self.images:
            canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        with drawing():
            figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI)
            figure.figimage(canvas, origin="upper", zorder=-1)
            for plot in self.plots:
                bottom = self.height - plot.y - plot.height
                box = np.divide(
                    (plot.x, bottom, plot.width, plot.height), (self.width, self.height, self.width, self.height)
                )
                plot.draw(figure.add_axes(tuple(box)))
            for line in self.words:
                at = line.x / self.width, 1 - line.y / self.height
                look: dict[str, Any] = {"color": line.color, "fontsize": line.size, "fontweight": line.weight}
                figure.text(*at, line.text, ha=line.align, va="top", **look)
            save(figure, path)


def wrap_words(text: str, width: float) -> list[str]:
    """Part a text into lines of a width in pixels."""
    return textwrap.wrap(text, max(8, int(width / LETTER)))


class Panel(NamedTuple):
    """One model's part of a page: what is drawn, in a line what it says, and the same as plain numbers."""

    board: Board
    summary: str
    numbers: dict[str, Any]


def make_page(title: str, panels: Sequence[tuple[str, Panel]], caption: str) -> Board:
    """Put a title on top, each model's name and summary over its panel, the panels side by side, and below what to look for."""
    inside = sum(panel.board.width for _, panel in panels) + (len(panels) - 1) * 2 * MARGIN
    page = Board(inside + 2 * MARGIN)
    page.write(MARGIN, MARGIN - 10, title, INK, 13, "bold")
    x, top = MARGIN, MARGIN + 30
    lines = max(len(wrap_words(panel.summary, panel.board.width)) for _, panel in panels)
    for name, panel in panels:
        page.write(x, top, shorten(name, int(panel.board.width / WIDE)), INK)
        page.write_lines(x, top + LINE, panel.summary, panel.board.width)
        page.put(x, top + (1 + lines) * LINE + 2 * GAP, panel.board)
        x += panel.board.width + 2 * MARGIN
    page.write_lines(MARGIN, page.height + 2 * GAP, caption, inside, INK)
    page.height += MARGIN - 10
    return page

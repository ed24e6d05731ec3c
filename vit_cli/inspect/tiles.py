"""Small maps as pixels: coloured, enlarged, laid out in rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vit_cli.inspect.board import GAP, LINE, WIDE, Board, Pixels
from vit_cli.inspect.style import shorten
from vit_cli.section import Grid

Numbers = NDArray[np.float64]
HEAT, SIGNED = "viridis", "PuOr_r"
"""Colours that everybody can tell apart: for what grows from dark to bright, and for what has a sign."""
LABEL, LEAST = 11, 6
"""Letters that the name of a row has at least, and those that have to be left of the head of a column."""


class Range(NamedTuple):
    """What the first and the last colour stand for."""

    low: float
    high: float


def paint(values: Numbers, limits: Range, colors: str = HEAT) -> Pixels:
    """Give numbers (...) colours (..., 3)."""
    span = limits.high - limits.low
    shares = (np.asarray(values, dtype=np.float64) - limits.low) / (span if span > 0 else 1)
    return mpl.colormaps[colors](np.clip(shares, 0, 1), bytes=True)[..., :3]


def limits_of(values: Numbers) -> Range:
    """Give the least and the largest of some numbers."""
    return Range(float(np.min(values)), float(np.max(values)))


def to_bytes(values: Numbers) -> Pixels:
    """Give shares from 0 to 1 as bytes."""
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def rescale(values: Numbers) -> Numbers:
    """Bring numbers to 0 for the least and 1 for the largest; equal ones to 0.5."""
    low, high = limits_of(values)
    return (values - low) / (high - low) if high > low else np.full_like(values, 0.5)


def as_pixels(image: Tensor) -> Pixels:
    """(3, rows, columns) uint8 -> (rows, columns, 3)."""
    pixels: Pixels = image.permute(1, 2, 0).cpu().numpy()
    return pixels


def fit_tile(shape: Grid, side: int) -> Grid:
    """Give the size for something to be drawn at in a square of `side`: whole multiples of small things."""
    scale = side / max(shape)
    scale = int(scale) if scale >= 1 else scale
    return Grid(*(max(1, round(length * scale)) for length in shape))


def resize(pixels: Pixels, size: Grid, smooth: bool = False) -> Pixels:
    """Bring an image to a size: cell by cell upwards unless `smooth`, without coarse edges downwards."""
    shrinks = pixels.shape[0] > size.rows or pixels.shape[1] > size.columns
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize((size.columns, size.rows), method))


def tile(pictures: Sequence[Pixels], columns: int, gap: int = 4) -> Pixels:
    """Lay equal pictures out row by row, with white between them."""
    rows, (height, width) = -(-len(pictures) // columns), pictures[0].shape[:2]
    sheet: Pixels = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for place, picture in enumerate(pictures):
        y, x = place // columns * (height + gap), place % columns * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet


def draw_table(
    rows: Sequence[Sequence[Pixels]], heads: Sequence[str], width: int, names: Sequence[str] = (), most: int = 176
) -> Board:
    """Draw rows of pictures under the heads of their columns, as large as the width and `most` allow; small ones cell by cell.

    All pictures take the size of the first; `names` stand before the rows.
    """
    board = Board(width)
    longest = max((len(name) for name in names), default=0)
    limit = max(LABEL, int((width - len(heads) * (most + 8) - GAP) / WIDE))  # pictures go first
    left = round(min(longest, limit) * WIDE) + GAP if names else 0
    step = min(most + 8, (width - left + 8) // len(heads))
    size = fit_tile(Grid(*rows[0][0].shape[:2]), step - 8)
    step = min(step, max(size.columns + 8, round(max(map(len, heads)) * WIDE) + 8))
    room = int((step - 6) / WIDE)
    for place, head in enumerate(heads):
        middle = left + place * step + size.columns / 2
        if len(head) <= room or room >= LEAST:
            board.write(middle, 0, shorten(head, room), align="center")
    for line, row in enumerate(rows):
        y = LINE + 4 + line * (size.rows + 8)
        if names:
            board.write(0, y + size.rows / 2 - LINE / 2, shorten(names[line], limit))
        for place, picture in enumerate(row):
            board.lay(left + place * step, y, resize(picture, size))
    return board


def draw_bar(limits: Range, label: str, width: int, colors: str = HEAT, form: str = "{:.2f}") -> Board:
    """Draw what colours stand for."""
    board, length = Board(width), 260
    low, high = (form.format(value) for value in limits)
    start = round(len(low) * WIDE) + GAP
    ramp = paint(np.linspace(0, 1, length)[None].repeat(16, axis=0), Range(0, 1), colors)
    board.write(0, 0, low)
    board.lay(start, 4, ramp)
    board.write(start + length + GAP, 0, f"{high}   {label}")
    return board


def choose_evenly(count: int, most: int) -> list[int]:
    """Choose up to `most` of `count` places, evenly, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})

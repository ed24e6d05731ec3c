"""Ranges that sections draw from, and random rectangles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from vit_cli.augment.dice import Floats, Integers

ATTEMPTS = 10
"""So many rectangles are drawn until one lies inside the image, as in torchvision."""


def check_order(bounds: tuple[float, float]) -> tuple[float, float]:
    """Raise ValueError unless the first bound is at most the second."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"the range must grow, but {bounds[0]:g} is above {bounds[1]:g}")
    return bounds


Above = Annotated[float, Field(gt=0)]
AtMostOne = Annotated[float, Field(gt=0, le=1)]
PositiveRange = Annotated[tuple[Above, Above], AfterValidator(check_order)]
"""[low, high], both above zero."""
ShareRange = Annotated[tuple[AtMostOne, AtMostOne], AfterValidator(check_order)]
"""[low, high], both above zero and at most one."""
Byte = Annotated[int, Field(ge=0, le=255)]


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    rows: int
    columns: int


def shape_boxes(area: tuple[float, float], ratio: tuple[float, float], numbers: Floats) -> Floats:
    """Turn numbers (b, 4 ATTEMPTS), even in [0, 1), into rectangles for images of any size: (b, ATTEMPTS, 4).

    The last axis is the share of the area, even in its range; columns over rows, even in the logarithm; and the place down
    and across, from 0 to 1 (torchvision's distribution).
    """
    share, shape, down, across = numbers.reshape(len(numbers), numbers.shape[1] // 4, 4).transpose(2, 0, 1)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    longer = np.exp(low + (high - low) * shape)
    return np.stack((area[0] + (area[1] - area[0]) * share, longer, down, across), axis=2)


def fit_boxes(h: int, w: int, shapes: Floats) -> tuple[Integers, NDArray[np.bool_]]:
    """Place rectangles, as of `shape_boxes`, inside h x w pixels: (b, 4) top, left, rows, columns of the first that fits.

    Also tells whether one does; where none does all are 0.
    """
    share, longer, down, across = shapes.transpose(2, 0, 1)
    pixels = h * w * share
    rows, columns = np.rint(np.sqrt(pixels / longer)), np.rint(np.sqrt(pixels * longer))
    inside = (rows > 0) & (rows <= h) & (columns > 0) & (columns <= w)
    first = inside.argmax(1)[:, None]
    down, across, rows, columns = (np.take_along_axis(each, first, 1) for each in (down, across, rows, columns))
    boxes = np.concatenate((np.floor(down * (h - rows + 1)), np.floor(across * (w - columns + 1)), rows, columns), 1)
    fits = inside.any(1)
    return (boxes * fits[:, None]).astype(np.int64), fits


def fit_box(h: int, w: int, shapes: Sequence[Sequence[float]]) -> Box | None:
    """Do the same for one image, to the bit (what it computes is rounded alike everywhere); None if none fits."""
    for share, longer, down, across in shapes:
        pixels = h * w * share
        rows, columns = round(math.sqrt(pixels / longer)), round(math.sqrt(pixels * longer))
        if 0 < rows <= h and 0 < columns <= w:
            return Box(int(down * (h - rows + 1)), int(across * (w - columns + 1)), rows, columns)
    return None

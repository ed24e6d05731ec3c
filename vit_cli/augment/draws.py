"""Ranges that sections draw from, and rectangles drawn for many images at once."""

from __future__ import annotations

import math
from typing import Annotated

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


def draw_boxes(
    h: int | Integers, w: int | Integers, area: tuple[float, float], ratio: tuple[float, float], numbers: Floats
) -> tuple[Integers, NDArray[np.bool_]]:
    """Turn numbers (b, 4 ATTEMPTS), even in [0, 1), into rectangles inside h x w pixels (the same, or (b,) each).

    Gives (b, 4) top, left, rows, columns of the first attempt that fits, and whether one does; all 0 where none does.
    The share of the area is even in its range, columns over rows even in the logarithm (torchvision's distribution).
    """
    share, shape, y, x = numbers.reshape(len(numbers), numbers.shape[1] // 4, 4).transpose(
        2, 0, 1
    )  # (b, attempts) each
    tall, wide = (np.asarray(side, dtype=np.float64).reshape(-1, 1) for side in (h, w))
    pixels = tall * wide * (area[0] + (area[1] - area[0]) * share)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    longer = np.exp(low + (high - low) * shape)
    rows, columns = np.rint(np.sqrt(pixels / longer)), np.rint(np.sqrt(pixels * longer))
    inside = (rows > 0) & (rows <= tall) & (columns > 0) & (columns <= wide)
    first = inside.argmax(1)[:, None]
    y, x, rows, columns = (np.take_along_axis(each, first, 1) for each in (y, x, rows, columns))
    boxes = np.concatenate((np.floor(y * (tall - rows + 1)), np.floor(x * (wide - columns + 1)), rows, columns), 1)
    fits = inside.any(1)
    return (boxes * fits[:, None]).astype(np.int64), fits

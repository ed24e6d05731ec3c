"""Random numbers for per-image transforms, all from torch's default CPU generator, and ranges to draw from.

The loader seeds that generator for every image, so nothing in this package may draw from anywhere else.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
from pydantic import AfterValidator, Field


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


def draw_uniform(low: float, high: float) -> float:
    """Draw a number between `low` and `high`."""
    return float(torch.empty(1).uniform_(low, high).item())


def draw_below(count: int) -> int:
    """Draw one of 0 ... count - 1."""
    return int(torch.randint(count, ()))


def draw_chance(prob: float) -> bool:
    """Be true with probability `prob`: always for 1, never for 0."""
    return float(torch.rand(())) < prob


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    rows: int
    columns: int


def draw_box(h: int, w: int, area: tuple[float, float], ratio: tuple[float, float]) -> Box | None:
    """Draw a rectangle inside h x w pixels, by its share of the area and its columns over rows (even in the logarithm).

    None after ten that do not fit. The draws are those of torchvision's RandomResizedCrop.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        pixels = h * w * draw_uniform(*area)
        shape = math.exp(draw_uniform(low, high))
        rows, columns = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
        if 0 < rows <= h and 0 < columns <= w:
            return Box(draw_below(h - rows + 1), draw_below(w - columns + 1), rows, columns)
    return None

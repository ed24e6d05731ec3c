"""The operations that learned and random policies are made of, each with a strength between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.draws import draw_below, draw_chance
from vit_cli.augment.geometry import Map, Sampling, invert_affine, warp
from vit_cli.augment.pixels import sharpen, solarise


class Reach(NamedTuple):
    """How far operations go at full strength. The defaults are AutoAugment's and RandAugment's."""

    shear: float = 0.3
    translate: float = 150 / 331
    translate_unit: str = "side"
    """`side`: `translate` is a share of the width or height; `pixel`: it is a number of pixels."""
    rotate: float = 30.0
    enhance: float = 0.9
    bits: tuple[int, int] = (8, 4)
    """What posterising keeps of each value at no and at full strength."""


class Paint(NamedTuple):
    """How moved pixels are read, and the grey value of what comes from outside."""

    sampling: Sampling
    fill: int


def shear(image: Tensor, amount: float, paint: Paint, *, vertical: bool) -> Tensor:
    """Shear about the first row (or column, if vertical) by `amount` pixels a pixel."""
    h, w = image.shape[-2:]
    source = Map(1, 0, 0, amount, 1, amount * w / 2) if vertical else Map(1, amount, amount * h / 2, 0, 1, 0)
    return warp(image, source, *paint)


def translate(image: Tensor, amount: float, paint: Paint, *, vertical: bool) -> Tensor:
    """Shift by the whole part of `amount` pixels."""
    pixels = int(amount)
    return warp(image, Map(1, 0, 0 if vertical else -pixels, 0, 1, -pixels if vertical else 0), *paint)


def rotate(image: Tensor, amount: float, paint: Paint) -> Tensor:
    """Rotate counter-clockwise by `amount` degrees."""
    return warp(image, invert_affine(-amount, (0, 0), 1.0, 0.0), *paint)


MOVES: dict[str, Callable[[Tensor, float, Paint], Tensor]] = {
    "shear_x": partial(shear, vertical=False),
    "shear_y": partial(shear, vertical=True),
    "translate_x": partial(translate, vertical=False),
    "translate_y": partial(translate, vertical=True),
    "rotate": rotate,
}
ENHANCEMENTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": F.adjust_brightness_image,
    "color": F.adjust_saturation_image,
    "contrast": F.adjust_contrast_image,
    "sharpness": sharpen,
}
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "auto_contrast": F.autocontrast_image,
    "equalize": F.equalize_image,
    "invert": F.invert_image,
}
SIGNED = frozenset(MOVES) | frozenset(ENHANCEMENTS)
"""The operations that go one way or the other."""
OPERATIONS = ("identity", *MOVES, *ENHANCEMENTS, "posterize", "solarize", "auto_contrast", "equalize")
"""The fourteen of RandAugment, in torchvision's order."""


def apply_operation(image: Tensor, operation: str, strength: float, reach: Reach, paint: Paint) -> Tensor:
    """Change a uint8 image (3, h, w). `strength` is in 0..1, or -1..1 for `SIGNED` operations."""
    if operation in MOVES:
        return MOVES[operation](image, strength * measure(operation, image, reach), paint)
    if operation in ENHANCEMENTS:
        return ENHANCEMENTS[operation](image, 1 + strength * reach.enhance)
    if operation == "posterize":
        most, least = reach.bits
        return F.posterize_image(image, round(most - strength * (most - least)))
    if operation == "solarize":
        return solarise(image, 255 * (1 - strength))
    return image if operation == "identity" else PLAIN[operation](image)


def draw_sign(operation: str) -> float:
    """Draw 1 or -1 for an operation that goes both ways; it is 1 for the others."""
    return -1.0 if operation in SIGNED and draw_chance(0.5) else 1.0


def draw_strength(operation: str, count: int, bins: int) -> float:
    """Draw one of the first `count` of `bins` strengths from 0 to 1, and its sign; 0 where strength has no meaning."""
    if operation == "identity" or operation in PLAIN:
        return 0.0
    return draw_below(count) / (bins - 1) * draw_sign(operation)


def measure(move: str, image: Tensor, reach: Reach) -> float:
    """Give a move's amount at full strength: pixels, degrees, or pixels a pixel."""
    if not move.startswith("translate"):
        return reach.rotate if move == "rotate" else reach.shear
    if reach.translate_unit == "pixel":
        return reach.translate
    return reach.translate * image.shape[-1 if move == "translate_x" else -2]

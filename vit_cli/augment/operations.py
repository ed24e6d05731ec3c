"""The operations that learned and random policies are made of, each with a strength between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from vit_cli.augment import pixels
from vit_cli.augment.dice import Dice, Floats, Integers
from vit_cli.augment.geometry import Maps, Paint, invert_affine, move
from vit_cli.augment.rows import Group, change_rows


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


IDENTITY = "identity"
MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
ENHANCEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": pixels.brighten,
    "color": pixels.saturate,
    "contrast": pixels.contrast,
    "sharpness": pixels.sharpen,
}
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "auto_contrast": pixels.stretch,
    "equalize": pixels.equalise,
    "invert": pixels.invert,
}
OPERATIONS = (IDENTITY, *MOVES, *ENHANCEMENTS, "posterize", "solarize", "auto_contrast", "equalize")
"""The fourteen of RandAugment, in torchvision's order."""
KINDS = (*OPERATIONS, "invert")
"""All operations there are. A batch's are an array of places in this list."""
SIGNED = np.array([kind in MOVES or kind in ENHANCEMENTS for kind in KINDS])
"""The operations that go one way or the other."""


def apply_operations(images: Tensor, kinds: Integers, strengths: Floats, reach: Reach, paint: Paint) -> Tensor:
    """Change contiguous images (b, 3, h, w) uint8, each by the operation whose place in `KINDS` it has in `kinds`.

    `strengths` are in 0..1, or -1..1 for `SIGNED` operations.
    """
    order = np.argsort(kinds, kind="stable")
    *parts, _ = np.split(order, np.bincount(kinds, minlength=len(KINDS)).cumsum())
    rows_of = dict(zip(KINDS, parts, strict=True))
    moved = np.concatenate([rows_of.pop(move) for move in MOVES])
    groups = [
        recolour(kind, rows, strengths[rows], reach) for kind, rows in rows_of.items() if len(rows) and kind != IDENTITY
    ]
    if len(moved):
        groups.extend(move(moved, map_moves(kinds[moved], strengths[moved], images, reach), images, paint))
    return change_rows(images, groups)


def recolour(kind: str, rows: Integers, strengths: Floats, reach: Reach) -> Group:
    """Say how an operation that moves nothing changes some images of a batch."""
    if kind in ENHANCEMENTS:
        return Group(rows, ENHANCEMENTS[kind], (1 + strengths * reach.enhance,))
    if kind == "posterize":
        most, least = reach.bits
        bits = np.rint(most - strengths * (most - least)).astype(np.int64)
        return Group(rows, pixels.posterise, ((256 - (256 >> bits)).astype(np.uint8),))
    if kind == "solarize":
        return Group(rows, pixels.solarise, (np.ceil(255 * (1 - strengths)).astype(np.uint8),))
    return Group(rows, PLAIN[kind])


def map_moves(kinds: Integers, strengths: Floats, images: Tensor, reach: Reach) -> Maps:
    """Give the maps of `MOVES`: shear about the first row or column, shift by whole pixels, rotate counter-clockwise."""
    h, w = images.shape[-2:]
    shear_x, shear_y, translate_x, translate_y, rotate = (
        np.where(kinds == KINDS.index(kind), strengths, 0.0) for kind in MOVES
    )
    full_x, full_y = (reach.translate * (side if reach.translate_unit == "side" else 1) for side in (w, h))
    turned = invert_affine(
        -reach.rotate * rotate, (np.zeros(len(kinds)),) * 2, np.ones(len(kinds)), np.zeros(len(kinds))
    )
    shear_x, shear_y = reach.shear * shear_x, reach.shear * shear_y
    return Maps(
        turned.xx,
        turned.xy + shear_x,
        shear_x * h / 2 - np.trunc(translate_x * full_x),
        turned.yx + shear_y,
        turned.yy,
        shear_y * w / 2 - np.trunc(translate_y * full_y),
    )


def draw_signs(kinds: Integers, dice: Dice) -> Floats:
    """Draw 1 or -1 for operations that go both ways; it is 1 for the others."""
    return np.where(SIGNED[kinds] & dice.chance(0.5), -1.0, 1.0)


def draw_kinds(operations: tuple[str, ...], dice: Dice) -> Integers:
    """Draw one of `operations` for each image."""
    return np.array([KINDS.index(operation) for operation in operations])[dice.below(len(operations))]


def draw_strengths(kinds: Integers, count: int, bins: int, dice: Dice) -> Floats:
    """Draw one of the first `count` of `bins` strengths from 0 to 1, and its sign."""
    return dice.below(count) / (bins - 1) * draw_signs(kinds, dice)

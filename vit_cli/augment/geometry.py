"""Transforms that move pixels and keep the size: flips, rotation, shift, scale, shear."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from vit_cli.augment.dice import Dice, Floats, Integers
from vit_cli.augment.draws import Byte, PositiveRange
from vit_cli.augment.pixels import to_bytes
from vit_cli.augment.rows import Group, change_rows
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share

Sampling = Literal["nearest", "bilinear"]
FRACTION = 16
"""Places of nearest pixels are whole numbers of 1 / 2**16 of a pixel, so that every processor reads the same one."""


class Paint(NamedTuple):
    """How moved pixels are read, and the grey value of what comes from outside."""

    sampling: Sampling
    fill: int


class Flip(SameSize):
    """Mirror the image with probability `prob`: left and right (horizontal), or top and bottom (vertical)."""

    name: Literal["flip"] = "flip"
    prob: Share = 0.5
    direction: Literal["horizontal", "vertical"] = "horizontal"

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        flip = partial(torch.flip, dims=(-1 if self.direction == "horizontal" else -2,))
        return change_rows(images, [Group(np.flatnonzero(dice.chance(self.prob)), flip)])


class Affine(SameSize):
    """Rotate, shift, scale and shear about the middle (torchvision's RandomAffine, whose distributions these are).

    Rotation is within ±`degrees`; the shift within ±`translate` of the width and of the height; the factor of the size
    within `scale`; the horizontal shear within ±`shear` degrees. What comes from outside is grey of value `fill`.
    """

    name: Literal["affine"] = "affine"
    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    translate: tuple[Share, Share] = (0.0, 0.0)
    scale: PositiveRange = (1.0, 1.0)
    shear: Annotated[NonNegativeFloat, Field(lt=90)] = 0.0
    interpolation: Sampling = "bilinear"
    fill: Byte = 0

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        angles = dice.uniform(-self.degrees, self.degrees)
        across, down = (
            np.rint(dice.uniform(-share * side, share * side))
            for share, side in zip(self.translate, (images.shape[-1], images.shape[-2]), strict=True)
        )
        scales, shears = dice.uniform(*self.scale), dice.uniform(-self.shear, self.shear)
        maps = invert_affine(angles, (across, down), scales, shears)
        rows, paint = np.arange(len(images)), Paint(self.interpolation, self.fill)
        return change_rows(images.contiguous(), move(rows, maps, images, paint))


class Maps(NamedTuple):
    """Where pixels come from: (x, y) is read at (xx x + xy y + x0, yx x + yy y + y0), counted from the middle; (n,) each."""

    xx: Floats
    xy: Floats
    x0: Floats
    yx: Floats
    yy: Floats
    y0: Floats


def invert_affine(angles: Floats, shifts: tuple[Floats, Floats], scales: Floats, shears: Floats) -> Maps:
    """Give the maps of: shear by `shears` degrees, rotate clockwise by `angles` degrees, scale, shift by (x, y) pixels."""
    cos, sin, tan = np.cos(np.radians(angles)), np.sin(np.radians(angles)), np.tan(np.radians(shears))
    # Forward: [[cos, -cos tan - sin], [sin, cos - sin tan]] * scale, of determinant scale².
    xx, xy = (cos - sin * tan) / scales, (cos * tan + sin) / scales
    yx, yy = -sin / scales, cos / scales
    x, y = shifts
    return Maps(xx, xy, -xx * x - xy * y, yx, yy, -yx * x - yy * y)


def move(rows: Integers, maps: Maps, images: Tensor, paint: Paint) -> list[Group]:
    """Say how the pixels of some of the images (b, 3, h, w) move, by a map for each of `rows`.

    A place is the sum of one number for its row and one for its column, which are worked out here: (n, 2, h) and
    (n, 2, w), x and y in the image framed by one pixel.
    """
    h, w = images.shape[-2:]
    across, down = np.arange(w) - (w - 1) / 2, np.arange(h) - (h - 1) / 2
    by_column = np.stack((maps.xx, maps.yx), 1)[:, :, None] * across
    origin = np.stack((maps.x0 + (w + 1) / 2, maps.y0 + (h + 1) / 2), 1)[:, :, None]
    by_row = np.stack((maps.xy, maps.yy), 1)[:, :, None] * down + origin
    if paint.sampling == "bilinear":
        scale = 2 / np.array(((w + 1,), (h + 1,)))  # grid_sample counts from -1 to 1
        return [Group(rows, partial(warp_bilinear, fill=paint.fill), (by_row * scale - 1, by_column * scale))]
    unit, far = 2**FRACTION, 2.0**60
    by_row = np.rint((by_row + 0.5) * unit).clip(-far, far).astype(np.int64)  # halves go one way: no row skips pixels
    by_column = np.rint(by_column * unit).clip(-far, far).astype(np.int64)
    is_shift = (maps.xx == 1) & (maps.yx == 0)
    firsts = ((by_row[is_shift] + by_column[is_shift, :, :1]) >> FRACTION) - 1  # where each row begins in the image
    margin = min(w + 1, int(np.abs(firsts[:, 0]).max(initial=0)))
    groups = [Group(rows[is_shift], partial(shift_rows, margin=margin, fill=paint.fill), (firsts,))]
    rows, by_row, by_column = rows[~is_shift], by_row[~is_shift], by_column[~is_shift]
    if np.abs(by_row).max(initial=0) + np.abs(by_column).max(initial=0) < 2**31:
        by_row, by_column = by_row.astype(np.int32), by_column.astype(np.int32)
    groups.append(Group(rows, partial(warp_nearest, fill=paint.fill), (by_row, by_column)))
    return groups


def shift_rows(images: Tensor, firsts: Tensor, margin: int, fill: int) -> Tensor:
    """Put rows together from parts of rows, which begin at (x, y) of `firsts` (n, 2, h); x is at most `margin` outside.

    It is what `warp_nearest` does, at a third of the time, when neighbours in a row stay neighbours.
    """
    n, _, h, w = images.shape
    framed = nnf.pad(images, (margin, margin, 1, 1), value=fill)
    wide = framed.shape[-1]
    x, y = firsts.unbind(1)
    begins = (y + 1).clamp_(0, h + 1).mul_(wide).add_((x + margin).clamp_(0, 2 * margin))
    planes = torch.arange(3 * n, device=images.device).view(n, 3, 1) * ((h + 2) * wide)
    windows = framed.view(-1).as_strided((framed.numel() - w + 1, w), (1, 1))
    return windows.index_select(0, (begins[:, None] + planes).view(-1)).view(n, 3, h, w)


def warp_nearest(images: Tensor, by_row: Tensor, by_column: Tensor, fill: int) -> Tensor:
    """Read each pixel at the nearest place: torchvision's affine, but for places about as near to two pixels."""
    n, _, h, w = images.shape
    framed = nnf.pad(images, (1, 1, 1, 1), value=fill)  # what lies outside is one pixel wide: places stop there
    x, y = ((by_row[:, :, :, None] + by_column[:, :, None]) >> FRACTION).unbind(1)
    index = y.clamp_(0, h + 1).mul_(w + 2).add_(x.clamp_(0, w + 1)).to(torch.int64)
    return framed.view(n, 3, -1).gather(2, index.view(n, 1, -1).expand(n, 3, -1)).view(n, 3, h, w)


def warp_bilinear(images: Tensor, by_row: Tensor, by_column: Tensor, fill: int) -> Tensor:
    """Read each pixel between its four neighbours: torchvision's affine but for rounding."""
    framed = nnf.pad(images, (1, 1, 1, 1), value=fill).to(torch.float32)
    by_row, by_column = (table.permute(0, 2, 1) for table in (by_row, by_column))
    grid = by_row[:, :, None] + by_column[:, None]
    return to_bytes(nnf.grid_sample(framed, grid, padding_mode="border", align_corners=True).round_())

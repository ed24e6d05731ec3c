"""Transforms that move pixels and keep the size: flips, rotation, shift, scale, shear."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as nnf
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from vit_cli.augment.draws import Byte, PositiveRange, draw_chance, draw_uniform
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share

Sampling = Literal["nearest", "bilinear"]


class Flip(SameSize):
    """Mirror the image with probability `prob`: left and right (horizontal), or top and bottom (vertical)."""

    name: Literal["flip"] = "flip"
    prob: Share = 0.5
    direction: Literal["horizontal", "vertical"] = "horizontal"

    def change(self, image: Tensor) -> Tensor:
        return image.flip(-1 if self.direction == "horizontal" else -2) if draw_chance(self.prob) else image


class Affine(SameSize):
    """Rotate, shift, scale and shear about the middle (torchvision's RandomAffine, whose draws these are).

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

    def change(self, image: Tensor) -> Tensor:
        h, w = image.shape[-2:]
        angle = draw_uniform(-self.degrees, self.degrees)
        x, y = (
            round(draw_uniform(-share * side, share * side)) if share else 0
            for share, side in zip(self.translate, (w, h), strict=True)
        )
        scale, shear = draw_uniform(*self.scale), draw_uniform(-self.shear, self.shear)
        return warp(image, invert_affine(angle, (x, y), scale, shear), self.interpolation, self.fill)


class Map(NamedTuple):
    """Where pixels come from: (x, y) is read at (xx x + xy y + x0, yx x + yy y + y0), counted from the middle."""

    xx: float
    xy: float
    x0: float
    yx: float
    yy: float
    y0: float


def invert_affine(angle: float, shift: tuple[float, float], scale: float, shear: float) -> Map:
    """Give the map of: shear by `shear` degrees, rotate clockwise by `angle` degrees, scale, shift by (x, y) pixels."""
    cos, sin, tan = math.cos(math.radians(angle)), math.sin(math.radians(angle)), math.tan(math.radians(shear))
    # Forward: [[cos, -cos tan - sin], [sin, cos - sin tan]] * scale, of determinant scale².
    xx, xy = (cos - sin * tan) / scale, (cos * tan + sin) / scale
    yx, yy = -sin / scale, cos / scale
    x, y = shift
    return Map(xx, xy, -xx * x - xy * y, yx, yy, -yx * x - yy * y)


def warp(image: Tensor, source: Map, sampling: Sampling, fill: int) -> Tensor:
    """Move the pixels of a uint8 image (3, h, w); places outside the image count as `fill`.

    Equal to torchvision's affine up to rounding, at a third of its time: it reads uint8 directly where it can.
    """
    h, w = image.shape[-2:]
    framed = nnf.pad(image, (1, 1, 1, 1), value=fill)  # what lies outside is one pixel wide: coordinates stop there
    by_row, by_column, origin = torch.tensor(
        ((source.xy, source.yy), (source.xx, source.yx), (source.x0 + (w + 1) / 2, source.y0 + (h + 1) / 2))
    ).view(3, 2, 1, 1)
    rows, columns = centred(h).view(h, 1), centred(w)
    places = torch.addcmul(torch.addcmul(origin, by_row, rows), by_column, columns)  # (2, h, w): x and y in the frame
    if sampling == "nearest":
        x, y = places.add_(0.5).unbind()  # halves go one way, so that a row never skips every other pixel
        index = y.clamp_(0, h + 1).long().mul_(w + 2).add_(x.clamp_(0, w + 1).long())
        return framed.reshape(3, -1).gather(1, index.view(1, -1).expand(3, -1)).view(3, h, w)
    grid = places.permute(1, 2, 0) * torch.tensor((2 / (w + 1), 2 / (h + 1))) - 1
    moved = nnf.grid_sample(framed[None].float(), grid[None], padding_mode="border", align_corners=True)
    return moved[0].round_().to(torch.uint8)


@lru_cache(maxsize=64)
def centred(side: int) -> Tensor:
    """Give the positions of `side` pixels counted from their middle."""
    return torch.arange(side, dtype=torch.float32) - (side - 1) / 2

"""Bringing a whole image to the model's resolution, without anything random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vit_cli.augment.dice import Floats
from vit_cli.augment.resize import (
    Interpolation,
    ResizeMode,
    cover,
    cover_share,
    crop_centre,
    resize,
)
from vit_cli.augment.together import cover_all, resize_all
from vit_cli.section import Grid, Look

GAP = 2
"""A picture is decoded at no less than so many times the size that it is resized to: the result hardly differs then."""


@dataclass(frozen=True)
class Fit:
    """Brings an image (3, h, w) uint8 of any size to a contiguous (3, res.rows, res.columns) uint8."""

    draws: ClassVar[int] = 0
    res: Grid
    crop: float
    mode: ResizeMode
    interpolation: Interpolation

    def look(self, h: int, w: int, numbers: Sequence[float] = ()) -> Look:
        del h, w, numbers  # the whole image is needed, wherever it is
        rows, columns = self.res if self.mode == "squash" else cover_share(self.res, self.crop)
        return Look(Grid(GAP * rows, GAP * columns), None, self)

    def take_all(self, images: Tensor, numbers: Floats) -> Tensor:
        del numbers
        if self.mode == "squash":
            return resize_all(images, self.res, self.interpolation)
        return crop_centre(cover_all(images, cover_share(self.res, self.crop), self.interpolation), self.res)

    def __call__(self, image: Tensor) -> Tensor:
        if self.mode == "squash":
            return resize(image, self.res, self.interpolation).contiguous()
        covering = cover(image, cover_share(self.res, self.crop), self.interpolation)
        return crop_centre(covering, self.res).contiguous()

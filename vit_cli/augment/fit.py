"""Bringing a whole image to the model's resolution, without anything random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vit_cli.augment.dice import Dice, Floats
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
    """Brings an image (3, h, w) uint8 of any size to (3, res.rows, res.columns) uint8."""

    res: Grid
    crop: float
    mode: ResizeMode
    interpolation: Interpolation

    def draw(self, dice: Dice) -> Floats:
        """Draw nothing."""
        return np.empty((len(dice), 0))

    def look(self, h: int, w: int, drawn: Sequence[float] = ()) -> Look:
        del h, w, drawn  # the whole image is needed, wherever it is
        rows, columns = self.res if self.mode == "squash" else cover_share(self.res, self.crop)
        return Look(Grid(GAP * rows, GAP * columns), None, self)

    def take_all(self, images: Tensor, drawn: Floats) -> Tensor:
        del drawn
        if self.mode == "squash":
            return resize_all(images, self.res, self.interpolation)
        return crop_centre(cover_all(images, cover_share(self.res, self.crop), self.interpolation), self.res)

    def __call__(self, image: Tensor) -> Tensor:
        if self.mode == "squash":
            return resize(image, self.res, self.interpolation)
        covering = cover(image, cover_share(self.res, self.crop), self.interpolation)
        return crop_centre(covering, self.res)

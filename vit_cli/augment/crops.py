"""Transforms that give an image the size the model takes, told before it is decoded what of it they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from vit_cli.augment.dice import Dice, Floats
from vit_cli.augment.draws import (
    ATTEMPTS,
    Box,
    PositiveRange,
    ShareRange,
    fit_box,
    fit_boxes,
    shape_boxes,
)
from vit_cli.augment.fit import Fit
from vit_cli.augment.resize import CropShare, Interpolation, ResizeMode, cover, cover_share, resize
from vit_cli.augment.together import cover_all, crop_and_resize, crop_by_size, cut_windows
from vit_cli.errors import RecipeError
from vit_cli.section import Grid, Look, Section


class RandomResizedCrop(Section):
    """A random part of the image, resized to res (Szegedy et al., 2015; distributed as in torchvision).

    `scale` is the part's share of the area, `ratio` its columns over rows. ViT takes [0.05, 1], DeiT [0.08, 1].
    """

    sizes: ClassVar[bool] = True
    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: ShareRange = (0.08, 1.0)
    ratio: PositiveRange = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bicubic"

    def build(self, res: Grid) -> CropPart:
        return CropPart(res, self.scale, self.ratio, self.interpolation)


class RandomCrop(Section):
    """A random res-sized window of the padded image, which is first resized so that its short side is res / `crop`.

    With the defaults and images of res this is the crop of CIFAR recipes (Krizhevsky, 2009); `padding_mode: reflect` is
    DeiT III's simple random crop (Touvron et al., 2022); crop 0.857, padding 0 at res 384 are big_vision's 448 and 384.
    """

    sizes: ClassVar[bool] = True
    name: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=0)] = 4
    padding_mode: Literal["constant", "reflect"] = "constant"
    crop: CropShare = 1.0
    interpolation: Interpolation = "bicubic"

    def build(self, res: Grid) -> CropWindow:
        if self.padding_mode == "reflect" and self.padding >= min(res):
            raise RecipeError(
                f"random_crop can't reflect {self.padding} pixels of an image of {res}",
                f"Use a padding below {min(res)}, or padding_mode: constant.",
            )
        if self.padding:
            import torchvision.transforms.v2.functional  # noqa: F401  # takes seconds, so before workers are forked
        return CropWindow(res, cover_share(res, self.crop), self.padding, self.padding_mode, self.interpolation)


class Resize(Section):
    """The image at res: its short side resized to res / `crop` and the middle taken (short), or stretched (squash)."""

    sizes: ClassVar[bool] = True
    name: Literal["resize"] = "resize"
    mode: ResizeMode = "short"
    crop: CropShare = 1.0
    interpolation: Interpolation = "bicubic"

    def build(self, res: Grid) -> Fit:
        return Fit(res, self.crop, self.mode, self.interpolation)


@dataclass(frozen=True)
class CropPart:
    """A random part of an image, resized to `res`."""

    res: Grid
    scale: tuple[float, float]
    ratio: tuple[float, float]
    interpolation: Interpolation

    def draw(self, dice: Dice) -> Floats:
        """Draw for each image rectangles of which the first that fits is taken."""
        return shape_boxes(self.scale, self.ratio, dice.uniform(count=4 * ATTEMPTS))

    def look(self, h: int, w: int, drawn: Sequence[Sequence[float]]) -> Look:
        box = fit_box(h, w, drawn) or find_middle(h, w, self.ratio)
        least = Grid(-(-h * self.res.rows // box.rows), -(-w * self.res.columns // box.columns))
        return Look(least, box.top + box.rows, partial(self.take, size=Grid(h, w), box=box))

    def take(self, pixels: Tensor, size: Grid, box: Box) -> Tensor:
        """Cut `box`, given in pixels of the whole `size`, out of what may have been decoded smaller, and resize it."""
        h, w = pixels.shape[-2:]
        if w < size.columns:
            box = shrink(box, h / size.rows, w / size.columns)
        part = pixels[:, box.top : box.top + box.rows, box.left : box.left + box.columns]
        return resize(part, self.res, self.interpolation)

    def take_all(self, images: Tensor, drawn: Floats) -> Tensor:
        h, w = images.shape[-2:]
        boxes, fits = fit_boxes(h, w, drawn)
        boxes[~fits] = find_middle(h, w, self.ratio)
        by_device = crop_and_resize if images.is_cuda else crop_by_size
        return by_device(images, boxes, self.res, self.interpolation)


@dataclass(frozen=True)
class CropWindow:
    """A random window of `res` of the padded image, which first covers `cover_size`."""

    res: Grid
    cover_size: Grid
    padding: int
    padding_mode: str
    interpolation: Interpolation

    def draw(self, dice: Dice) -> Floats:
        """Draw the window's place down and across, from 0 to 1."""
        return dice.uniform(count=2)

    def look(self, h: int, w: int, drawn: Sequence[float]) -> Look:
        del h, w  # the whole image is needed
        return Look(self.cover_size, None, partial(self.take, place=(drawn[0], drawn[1])))

    def take(self, pixels: Tensor, place: tuple[float, float]) -> Tensor:
        """Resize the whole image, pad it, and cut the window at a place given in shares of the room there is."""
        image = self.pad(cover(pixels, self.cover_size, self.interpolation))
        h, w = image.shape[-2:]
        top, left = int(place[0] * (h - self.res.rows + 1)), int(place[1] * (w - self.res.columns + 1))
        return image[:, top : top + self.res.rows, left : left + self.res.columns]

    def pad(self, images: Tensor) -> Tensor:
        """Widen images (..., 3, h, w) on all sides: by black, or by their own mirror image."""
        if not self.padding:
            return images
        from torchvision.transforms.v2.functional import pad_image

        return pad_image(images, [self.padding], padding_mode=self.padding_mode)

    def take_all(self, images: Tensor, drawn: Floats) -> Tensor:
        padded = self.pad(cover_all(images, self.cover_size, self.interpolation))
        h, w = padded.shape[-2:]
        room = np.array([h - self.res.rows + 1, w - self.res.columns + 1])
        return cut_windows(padded, (drawn * room).astype(np.int64), self.res)


def find_middle(h: int, w: int, ratio: tuple[float, float]) -> Box:
    """Give the largest part in the middle of an image whose columns over rows are within `ratio`."""
    rows = min(h, max(1, round(w / ratio[0])))
    columns = min(w, max(1, round(h * ratio[1])))
    return Box((h - rows) // 2, (w - columns) // 2, rows, columns)


def shrink(box: Box, down: float, across: float) -> Box:
    """Give the same part of an image that was decoded smaller by these factors."""
    top, left = int(box.top * down), int(box.left * across)
    return Box(top, left, max(1, round(box.rows * down)), max(1, round(box.columns * across)))

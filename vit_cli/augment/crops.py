"""Transforms that give an image the size the model takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.draws import Box, PositiveRange, ShareRange, draw_below, draw_box
from vit_cli.augment.preprocess import fit
from vit_cli.augment.resize import CropShare, Interpolation, ResizeMode, cover, cover_share, resize
from vit_cli.errors import RecipeError
from vit_cli.section import Grid, Section


class RandomResizedCrop(Section):
    """A random part of the image, resized to res (Szegedy et al., 2015; drawn as in torchvision).

    `scale` is the part's share of the area, `ratio` its columns over rows. ViT takes [0.05, 1], DeiT [0.08, 1].
    """

    sizes: ClassVar[bool] = True
    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: ShareRange = (0.08, 1.0)
    ratio: PositiveRange = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bicubic"

    def build(self, res: Grid) -> Callable[[Tensor], Tensor]:
        return partial(crop_part, res=res, scale=self.scale, ratio=self.ratio, interpolation=self.interpolation)


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

    def build(self, res: Grid) -> Callable[[Tensor], Tensor]:
        if self.padding_mode == "reflect" and self.padding >= min(res):
            raise RecipeError(
                f"random_crop can't reflect {self.padding} pixels of an image of {res}",
                f"Use a padding below {min(res)}, or padding_mode: constant.",
            )
        return partial(
            crop_window,
            res=res,
            cover_size=cover_share(res, self.crop),
            padding=self.padding,
            padding_mode=self.padding_mode,
            interpolation=self.interpolation,
        )


class Resize(Section):
    """The image at res: its short side resized to res / `crop` and the middle taken (short), or stretched (squash)."""

    sizes: ClassVar[bool] = True
    name: Literal["resize"] = "resize"
    mode: ResizeMode = "short"
    crop: CropShare = 1.0
    interpolation: Interpolation = "bicubic"

    def build(self, res: Grid) -> Callable[[Tensor], Tensor]:
        return partial(fit, res=res, crop=self.crop, mode=self.mode, interpolation=self.interpolation)


def crop_part(
    image: Tensor, *, res: Grid, scale: tuple[float, float], ratio: tuple[float, float], interpolation: Interpolation
) -> Tensor:
    """Cut a random part out and resize it to (3, res.rows, res.columns)."""
    h, w = image.shape[-2:]
    top, left, rows, columns = draw_box(h, w, scale, ratio) or find_middle(h, w, ratio)
    return resize(image[:, top : top + rows, left : left + columns], res, interpolation)


def find_middle(h: int, w: int, ratio: tuple[float, float]) -> Box:
    """Give the largest part in the middle of an image whose columns over rows are within `ratio`."""
    rows = min(h, max(1, round(w / ratio[0])))
    columns = min(w, max(1, round(h * ratio[1])))
    return Box((h - rows) // 2, (w - columns) // 2, rows, columns)


def crop_window(
    image: Tensor, *, res: Grid, cover_size: Grid, padding: int, padding_mode: str, interpolation: Interpolation
) -> Tensor:
    """Resize an image to cover `cover_size`, pad it, and cut a window of `res` at a random place."""
    image = cover(image, cover_size, interpolation)
    if padding:
        image = F.pad_image(image, [padding], padding_mode=padding_mode)
    h, w = image.shape[-2:]
    top, left = draw_below(h - res.rows + 1), draw_below(w - res.columns + 1)
    return image[:, top : top + res.rows, left : left + res.columns]

"""Random erasing: a rectangle of the image is painted over."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat
from torch import Tensor

from vit_cli.augment.dice import Dice
from vit_cli.augment.draws import ATTEMPTS, PositiveRange, ShareRange, fit_boxes, shape_boxes
from vit_cli.augment.pixels import choose
from vit_cli.augment.rows import Group, change_rows
from vit_cli.augment.same_size import SameSize
from vit_cli.keys import count_on, derive
from vit_cli.section import Share

OFFSETS = 2**18
"""The noise of an image begins at one of so many places of a fixed stretch of normal numbers, drawn for its key."""
Colour = tuple[float, float, float]


class RandomErasing(SameSize):
    """Paint over a random rectangle with probability `prob` (Zhong et al., 2020); DeiT takes 0.25. It comes last.

    `area` is its share of the image, `ratio` its columns over rows. `pixel` fills it with normal noise of `mean` and
    `std`, `const` with `mean`: of red, green and blue in 0..1. With ImageNet's, the defaults, these are timm's modes.
    """

    name: Literal["random_erasing"] = "random_erasing"
    prob: Share = 0.25
    area: ShareRange = (0.02, 1 / 3)
    ratio: PositiveRange = (0.3, 1 / 0.3)
    mode: Literal["pixel", "const"] = "pixel"
    mean: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        h, w = images.shape[-2:]
        rows = np.flatnonzero(dice.chance(self.prob))
        drawn = dice.pick(rows)
        boxes, fits = fit_boxes(h, w, shape_boxes(self.area, self.ratio, drawn.uniform(count=4 * ATTEMPTS)))
        rows, boxes, starts = rows[fits], boxes[fits], drawn.below(OFFSETS)[fits]
        if not len(rows):
            return images
        if self.mode == "pixel":
            noise = make_noise(h * w, self.mean, self.std, images.device)
            group = Group(rows, partial(paint_noise, noise=noise), (boxes, starts))
        else:
            plain = to_level(np.array(self.mean)).reshape(3, 1, 1)
            group = Group(rows, paint_over, (boxes, np.tile(plain, (len(rows), 1, 1, 1))))
        return change_rows(images.contiguous(), [group])


def paint_noise(images: Tensor, boxes: Tensor, starts: Tensor, noise: Tensor) -> Tensor:
    """Paint boxes (n, 4) over with what begins at `starts` (n,) of `noise`."""
    return paint_over(images, boxes, noise.index_select(0, starts).view_as(images))


def paint_over(images: Tensor, boxes: Tensor, paint: Tensor) -> Tensor:
    """Paint boxes (n, 4) of top, left, rows, columns over with `paint`: uint8, (n, 3, h, w) or (n, 3, 1, 1)."""
    top, left, rows, columns = boxes[:, :, None].unbind(1)
    y, x = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    in_rows, in_columns = (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)
    inside = (in_rows[:, None, :, None] & in_columns[:, None, None]).to(torch.uint8).neg_()
    return choose(inside, paint, images)


@lru_cache(maxsize=8)
def make_noise(pixels: int, mean: Colour, std: Colour, device: torch.device) -> Tensor:
    """Give normal noise in bytes, (OFFSETS, 3, pixels): views of one stretch that begin a number further each."""
    length = OFFSETS + pixels
    channels = count_on(np.full(3, derive("noise"), dtype=np.uint64), np.arange(3))
    u, v = Dice(channels).uniform(count=2 * length).reshape(3, length, 2).transpose(2, 0, 1)
    normal = np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * np.pi * v)  # Box & Muller, 1958
    stretch = to_level(np.array(mean)[:, None] + np.array(std)[:, None] * normal)
    return torch.from_numpy(stretch).to(device).as_strided((OFFSETS, 3, pixels), (1, length, 1))


def to_level(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Turn 0..1 into bytes, what is beyond cut off."""
    return (255 * shares).round().clip(0, 255).astype(np.uint8)

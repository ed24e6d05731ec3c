"""Resizing and cropping of uint8 images (3, h, w), with antialiasing."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor

from vit_cli.section import Grid

Interpolation = Literal["bilinear", "bicubic"]
ResizeMode = Literal["short", "squash"]
CropShare = Annotated[float, Field(gt=0, le=1)]
LONGEST = 16
"""How many times longer than needed a side may get before a stretched image is trimmed."""


def resize(image: Tensor, size: Grid, interpolation: Interpolation) -> Tensor:
    """Stretch an image to (3, size.rows, size.columns); an image of that size is returned as it is.

    A GPU rounds once, a CPU after each of the two directions: they are within two levels.
    """
    if image.shape[-2:] == size:
        return image
    if image.is_cuda:  # which resizes no bytes
        resized = nnf.interpolate(image[None].float(), tuple(size), mode=interpolation, antialias=True)[0]
        return resized.round_().clamp_(0, 255).to(torch.uint8)
    return nnf.interpolate(as_batch(image), tuple(size), mode=interpolation, antialias=True)[0]


def as_batch(image: Tensor) -> Tensor:
    """Give (3, h, w) as a batch of one, (1, 3, h, w), of which torch sees that its colours lie side by side, if they do.

    It looks at the stride of the first axis too, which `image[None]` sets to one column; then it would put the resized image
    into planes, at half as much time again.
    """
    return image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)


def crop_centre(image: Tensor, size: Grid) -> Tensor:
    """Cut the middle out of an image that is at least as large as `size`; the result is a view."""
    h, w = image.shape[-2:]
    top, left = round((h - size.rows) / 2), round((w - size.columns) / 2)
    return image[..., top : top + size.rows, left : left + size.columns]


def cover(image: Tensor, size: Grid, interpolation: Interpolation) -> Tensor:
    """Resize with one factor for both sides, to the smallest image that covers `size`.

    For a square this is a resize of the short side; as there, the other side is rounded down. A very long image
    (1x5000, say) loses its ends first: they would not survive a crop, and stretched they would fill the memory.
    """
    image = trim(image, size)
    h, w = image.shape[-2:]
    return resize(image, covering_size(h, w, size), interpolation)


def covering_size(h: int, w: int, size: Grid) -> Grid:
    """Give the smallest size of the shape of h x w that covers `size`."""
    if size.rows * w >= size.columns * h:
        return Grid(size.rows, max(size.columns, size.rows * w // h))
    return Grid(max(size.rows, size.columns * h // w), size.columns)


def trim(image: Tensor, size: Grid) -> Tensor:
    """Keep the middle of an image that is more than `LONGEST` times as long as the shape of `size` asks for."""
    h, w = image.shape[-2:]
    rows = LONGEST * max(1, -(-w * size.rows // size.columns))
    columns = LONGEST * max(1, -(-h * size.columns // size.rows))
    # An even number goes, half of it from each end, so that the middle stays where it was.
    return crop_centre(image, Grid(h - 2 * (max(0, h - rows) // 2), w - 2 * (max(0, w - columns) // 2)))


def cover_share(res: Grid, crop: float) -> Grid:
    """Give the size of which a crop of `res` is the share `crop` of each side: 256x256 for 224x224 and 0.875."""
    return Grid(round(res.rows / crop), round(res.columns / crop))

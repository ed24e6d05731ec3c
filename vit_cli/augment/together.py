"""Crops and resizes of many images of one size at once, on their device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.augment.mix import send
from vit_cli.augment.resize import Interpolation, covering_size, trim
from vit_cli.section import Grid

SHARPNESS = -0.5
"""The parameter of the cubic that antialiased resizing uses (Keys, 1981), as Pillow and torch do."""


def crop_and_resize(images: Tensor, boxes: NDArray[np.int64], res: Grid, interpolation: Interpolation) -> Tensor:
    """Resize a box of every image, with antialiasing: (b, 3, h, w) uint8 -> (b, 3, res.rows, res.columns) uint8.

    `boxes` (b, 4) are top, left, rows, columns. Each pixel is a weighted mean of pixels of its box;
    along each side the weights are a matrix, so two products do it. Between the two values are rounded to 8 bits, as torch
    does on a CPU.
    """
    top, left, rows, columns = send(torch.from_numpy(boxes.astype(np.float32)), images.device).unbind(1)
    b, _, h, w = images.shape
    across = weigh(left, columns, res.columns, w, interpolation)  # (b, C, w)
    down = weigh(top, rows, res.rows, h, interpolation)  # (b, R, h)
    side = images.float().transpose(2, 3).reshape(b, 3, w, h).transpose(1, 2).reshape(b, w, 3 * h)
    narrow = to_bytes(across @ side).view(b, res.columns, 3, h)  # (b, C, 3, h)
    lines = narrow.permute(0, 3, 1, 2).reshape(b, h, res.columns * 3)
    return to_bytes(down @ lines).view(b, res.rows, res.columns, 3).permute(0, 3, 1, 2).to(torch.uint8)


def crop_by_size(images: Tensor, boxes: NDArray[np.int64], res: Grid, interpolation: Interpolation) -> Tensor:
    """Do the same on a CPU, to the bit as one by one: boxes of equal size go through torch's kernel together.

    For small images setting the kernel up costs more than what it does, and few of their boxes have a size of their own.
    """
    pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    resized = torch.empty((len(images), *res, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    sizes, kinds = np.unique(boxes[:, 2:], axis=0, return_inverse=True)
    members = np.split(np.argsort(kinds, kind="stable"), np.cumsum(np.bincount(kinds))[:-1])
    for (rows, columns), which in zip(sizes.tolist(), members, strict=True):
        parts = torch.from_numpy(cut(pixels, which, boxes[which, :2], Grid(rows, columns))).permute(0, 3, 1, 2)
        resized[which] = resize_together(parts, res, interpolation)
    return resized


def cut(
    pixels: NDArray[np.uint8], which: NDArray[np.int64], places: NDArray[np.int64], size: Grid
) -> NDArray[np.uint8]:
    """Cut a window of one size out of some images, at (top, left): (n, h, w, 3) -> (len(which), rows, columns, 3)."""
    n, h, w, _ = pixels.shape
    shape = (n, h - size.rows + 1, w - size.columns + 1, *size, 3)
    strides = (*pixels.strides[:3], *pixels.strides[1:])
    copied: NDArray[np.uint8] = as_strided(pixels, shape, strides)[which, places[:, 0], places[:, 1]]
    return copied


def to_bytes(values: Tensor) -> Tensor:
    """Round to whole levels from 0 to 255."""
    return values.round_().clamp_(0, 255)


def weigh(start: Tensor, length: Tensor, out: int, size: int, interpolation: Interpolation) -> Tensor:
    """Give how much each of `size` pixels counts for each of `out`: (b, out, size), rows adding up to 1."""
    scale = (length / out)[:, None]
    centre = start[:, None] + (torch.arange(out, device=start.device) + 0.5) * scale
    pixels = torch.arange(size, device=start.device)
    distance = (((pixels + 0.5) - centre[..., None]) / scale.clamp(min=1)[..., None]).abs()
    weights = cubic(distance) if interpolation == "bicubic" else (1 - distance).clamp(min=0)
    inside = (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
    weights = weights * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)


def cubic(x: Tensor) -> Tensor:
    """Evaluate the cubic convolution kernel at distances x >= 0."""
    a = SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def cut_windows(images: Tensor, places: NDArray[np.int64], res: Grid) -> Tensor:
    """Cut a window of `res` out of every image: (b, 3, h, w) -> (b, 3, rows, columns); `places` (b, 2) are top and left."""
    if not images.is_cuda:  # numpy copies windows an order of magnitude faster than torch gathers pixels
        pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(cut(pixels, np.arange(len(images)), places, res)).permute(0, 3, 1, 2)
    top, left = send(torch.from_numpy(places), images.device).unbind(1)
    rows = top[:, None] + torch.arange(res.rows, device=images.device)
    columns = left[:, None] + torch.arange(res.columns, device=images.device)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resize_all(images: Tensor, size: Grid, interpolation: Interpolation) -> Tensor:
    """Stretch images of one size together: (b, 3, h, w) -> (b, 3, size.rows, size.columns) uint8."""
    h, w = images.shape[-2:]
    if (h, w) == size:
        return images
    if not images.is_cuda:
        return resize_together(images, size, interpolation)
    return crop_and_resize(images, np.tile(np.array([0, 0, h, w]), (len(images), 1)), size, interpolation)


def resize_together(images: Tensor, size: Grid, interpolation: Interpolation) -> Tensor:
    """Stretch images on a CPU by torch's kernel for bytes, unless they have the size."""
    if images.shape[-2:] == size:
        return images
    return nnf.interpolate(images, tuple(size), mode=interpolation, antialias=True)


def cover_all(images: Tensor, size: Grid, interpolation: Interpolation) -> Tensor:
    """Resize images of one size together so that they just cover `size`, as `cover` does."""
    images = trim(images, size)
    h, w = images.shape[-2:]
    return resize_all(images, covering_size(h, w, size), interpolation)

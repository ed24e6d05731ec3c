"""Changes of uint8 images (3, h, w) that torchvision does slowly: the same results in a fraction of the time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor


def solarise(image: Tensor, threshold: float) -> Tensor:
    """Invert the values of at least `threshold`. (A flipped byte is 255 minus itself; torch.where is slow on bytes.)"""
    if threshold > 255:
        return image
    return image ^ (image >= math.ceil(threshold)).to(torch.uint8).neg_()


def sharpen(image: Tensor, factor: float) -> Tensor:
    """Blend an image with its 3x3 smoothed self: 0 is smooth, 1 the image, above 1 sharper; the border stays."""
    h, w = image.shape[-2:]
    if min(h, w) < 3:
        return image
    wide = image.to(torch.int16)
    inner = wide[:, 1:-1, 1:-1]
    columns = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    around = columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:] + 4 * inner
    smooth = around.to(torch.float32).mul_(1 / 13).round_()
    sharp = image.clone()
    sharp[:, 1:-1, 1:-1] = torch.add(inner, smooth.sub_(inner), alpha=1 - factor).clamp_(0, 255)
    return sharp


def blur(image: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of standard deviation `sigma` > 0 pixels, cut off at 3 sigma; the borders are repeated."""
    radius = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(radius + 1)]
    total = taps[0] + 2 * sum(taps[1:])
    taps = [tap / total for tap in taps]
    smooth = image[None].to(torch.float32)
    for dim, padding in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        padded, size = nnf.pad(smooth, padding, mode="replicate"), smooth.shape[dim]
        smooth = padded.narrow(dim, radius, size) * taps[0]
        for step, tap in enumerate(taps[1:], start=1):
            smooth.add_(padded.narrow(dim, radius - step, size), alpha=tap)
            smooth.add_(padded.narrow(dim, radius + step, size), alpha=tap)
    return smooth[0].round_().to(torch.uint8)

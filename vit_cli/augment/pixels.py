"""Changes of colour and sharpness of uint8 images (n, 3, h, w), each with a number of its own in an (n,) tensor.

All are torchvision's, made for many images at once and in a fraction of the time. Every step is rounded by itself (no
multiply-and-add in one), so that neither the batch nor the processor's vectors have a say in the result. Any memory
layout will do; images whose colours lie in planes are changed fastest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)
"""The shares of red, green and blue in grey, as torchvision rounds those of ITU-R BT.601."""


def to_bytes(values: Tensor) -> Tensor:
    """Cut floats off at 0 and 255 and drop their fractions. (By int16, which a CPU does four times as fast.)"""
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def each(numbers: Tensor) -> Tensor:
    """Shape (n,) numbers for (n, 3, h, w) images."""
    return numbers.view(-1, 1, 1, 1)


def grey(images: Tensor) -> Tensor:
    """Give whole grey values in float32: (n, 1, h, w)."""
    red, green, blue = (images[:, channel : channel + 1] * share for channel, share in enumerate(LUMA))
    return red.add_(green).add_(blue).floor_()


def blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Give factor * image + (1 - factor) * other; beyond 1, the image moves away from the other."""
    mixed = images * each(factors)
    return to_bytes(mixed.add_(others * (1 - each(factors))))


def brighten(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply all values: 0 is black, 1 the image."""
    return to_bytes(images * each(factors))


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend an image with its mean grey: 0 is plain grey, 1 the image."""
    h, w = images.shape[-2:]
    total = grey(images).sum((1, 2, 3), dtype=torch.float64)  # of whole numbers, whose order is no matter
    means = total / (h * w)
    return blend(images, each(means.to(torch.float32)), factors)


def saturate(images: Tensor, factors: Tensor) -> Tensor:
    """Blend an image with its grey self: 0 is grey, 1 the image."""
    return blend(images, grey(images), factors)


def take_colour(images: Tensor) -> Tensor:
    """Give images in grey, still of three channels."""
    return to_bytes(grey(images)).expand_as(images)


def posterise(images: Tensor, masks: Tensor) -> Tensor:
    """Keep the bits of each value that are set in `masks` (uint8)."""
    return images & each(masks)


def solarise(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the values of at least `thresholds` (uint8). (A CPU compares bytes slowly and takes maxima fast.)"""
    below = torch.maximum(images, each(thresholds)).sub_(images).clamp_(max=1)  # 1 below the threshold, 0 from it on
    return below.sub_(1).bitwise_xor_(images)  # 0 - 1 is 255, and a value flipped by 255 is inverted


def invert(images: Tensor) -> Tensor:
    """Turn light into dark."""
    return ~images


def stretch(images: Tensor) -> Tensor:
    """Spread each channel over all of 0..255 (auto-contrast); a plain one stays."""
    low, high = (bound.to(torch.float32) for bound in (images.amin((2, 3), True), images.amax((2, 3), True)))
    is_plain = low == high
    low, scale = low.masked_fill_(is_plain, 0), ((high - low) * (1 / 255)).masked_fill_(is_plain, 1)
    return to_bytes(images.to(torch.float32).sub_(low).div_(scale))


def equalise(images: Tensor) -> Tensor:
    """Make all values of each channel about as frequent, by Pillow's rule; one of too few values stays."""
    n, _, h, w = images.shape
    values = images.reshape(n, 3, h * w).to(torch.int64)
    counts = torch.zeros(n, 3, 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(2, values, torch.ones((), dtype=torch.int32, device=images.device).expand_as(values))
    highest = counts.gather(2, images.amax((2, 3)).to(torch.int64).unsqueeze(2))
    step = ((h * w - highest) // 255).to(torch.float64)
    below = counts.cumsum(2).sub_(counts)
    levels = ((below + (step / 2).floor_()) / step.clamp(min=1)).floor_()
    own = torch.arange(256, dtype=torch.float64, device=images.device)
    return to_bytes(torch.where(step > 0, levels, own)).gather(2, values).view(n, 3, h, w)


def sharpen(images: Tensor, factors: Tensor) -> Tensor:
    """Blend an image with its 3x3 smoothed self: 0 is smooth, 1 the image, above 1 sharper; the border stays."""
    h, w = images.shape[-2:]
    if min(h, w) < 3:
        return images
    # One long row: neighbours are 1 and w apart, and what runs over the border is thrown away.
    flat = images.reshape(-1).to(torch.int16)
    columns = (flat[:-2] + flat[1:-1]).add_(flat[2:])
    around = (columns[: -2 * w] + columns[w:-w]).add_(columns[2 * w :]).add_(flat[w + 1 : -w - 1] * 4)
    smooth = flat.to(torch.float32)
    smooth[w + 1 : -w - 1] = around.to(torch.float32).mul_(1 / 13).round_()
    smooth, wide = smooth.view_as(images), images.to(torch.float32)
    sharp = to_bytes(smooth.sub_(wide).mul_(1 - each(factors)).add_(wide))
    inside = nnf.pad(torch.full((h - 2, w - 2), 255, dtype=torch.uint8, device=images.device), (1, 1, 1, 1))
    return choose(inside, sharp, images)


def choose(mask: Tensor, ones: Tensor, others: Tensor) -> Tensor:
    """Give `ones` where `mask` is 255 and `others` where it is 0, all uint8. (torch.where is slow on bytes.)"""
    return ((ones ^ others) & mask).bitwise_xor_(others)


def turn_hue(images: Tensor, shares: Tensor) -> Tensor:
    """Turn all hues by a share of the circle, in HSV."""
    wide = images.to(torch.float32)
    low, high = wide.amin(1, True), wide.amax(1, True)
    red, green, blue = wide.split(1, 1)
    span = high - low
    by = span.clamp(min=1)
    cool = torch.where(high == green, (blue - red).div_(by).add_(2), (red - green).div_(by).add_(4))
    hue = torch.where(high == red, (green - blue).div_(by), cool).add_(6 * each(shares))  # 6 is once round
    place = torch.cat([hue + start for start in (5, 3, 1)], 1)
    place.sub_((place * (1 / 6)).floor_().mul_(6))
    share_of_low = torch.minimum(place, 4 - place).clamp_(0, 1)
    return to_bytes((high - share_of_low.mul_(span)).mul_(255.999 / 255))  # torchvision's way back from 0..1 to bytes


def blur(images: Tensor, taps: Tensor) -> Tensor:
    """Blur across and down with symmetric `taps`, (n, radius + 1) from the middle outwards; the borders are repeated."""
    radius, h = taps.shape[1] - 1, images.shape[-2]
    padded = nnf.pad(images.to(torch.float32), (radius,) * 4, mode="replicate")
    wide = padded.shape[-1]
    # Each image is one long row, in which neighbours are 1 or `wide` apart; what runs over the border is thrown away.
    smooth = weigh(weigh(padded.flatten(1), taps, 1), taps, wide)
    steps = (smooth.shape[1], (h + 2 * radius) * wide, wide, 1)
    return to_bytes(smooth.round_().as_strided(images.shape, steps))


def weigh(values: Tensor, taps: Tensor, apart: int) -> Tensor:
    """Add up values (n, m) that are `apart` with symmetric `taps` (n, radius + 1): (n, m - 2 radius apart)."""
    radius = taps.shape[1] - 1
    size = values.shape[1] - 2 * radius * apart
    first = radius * apart
    total = values.narrow(1, first, size) * taps[:, :1]
    for step in range(1, radius + 1):
        pair = values.narrow(1, first - step * apart, size) + values.narrow(1, first + step * apart, size)
        total.add_(pair.mul_(taps[:, step : step + 1]))
    return total

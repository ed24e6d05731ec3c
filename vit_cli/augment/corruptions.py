"""Harm to images that models should bear: noise, blur, compression and the like, at five strengths.

After Hendrycks & Dietterich, 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", with
about their strengths. These are made anew, most with torchvision's functions, and are not the images of ImageNet-C: scores of the
two can't be compared.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from vit_cli.keys import derive

STRENGTHS = 5
SIDE = 224
"""The short side in pixels that the strengths of blur are for; they shrink and grow with the image."""


def add_noise(image: Tensor, sigma: float) -> Tensor:
    """Add normal noise of a standard deviation in shares of the range, from torch's global generator."""
    noisy: Tensor = tvf.gaussian_noise(image, sigma=sigma)
    return noisy


def blur(image: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian, rows and then columns: a kernel in two directions takes many times as long."""
    rows, columns = image.shape[-2:]
    sigma *= min(rows, columns) / SIDE
    reach = math.ceil(3 * sigma)
    high, wide = (2 * min(reach, side - 1) + 1 for side in (rows, columns))
    smooth = tvf.gaussian_blur(image.float(), [wide, 1], [sigma, sigma])
    smooth = tvf.gaussian_blur(smooth, [1, high], [sigma, sigma])
    return smooth.round().to(torch.uint8)


def compress(image: Tensor, quality: float) -> Tensor:
    """Save as JPEG, and read again; by Pillow, since torchvision gives its own way up."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=int(quality))
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def pixelate(image: Tensor, share: float) -> Tensor:
    """Shrink to a share of each side, and enlarge again without smoothing."""
    size = list(image.shape[-2:])
    small = tvf.resize(image, [max(1, round(side * share)) for side in size], antialias=True)
    squares: Tensor = tvf.resize(small, size, interpolation=tvf.InterpolationMode.NEAREST)
    return squares


def fade(image: Tensor, factor: float) -> Tensor:
    """Leave a share of the contrast."""
    faded: Tensor = tvf.adjust_contrast(image, factor)
    return faded


def brighten(image: Tensor, factor: float) -> Tensor:
    """Make brighter, up to white."""
    bright: Tensor = tvf.adjust_brightness(image, factor)
    return bright


class Kind(NamedTuple):
    """What harms an image (3, h, w) uint8, and how much: one number for each strength."""

    apply: Callable[[Tensor, float], Tensor]
    strengths: tuple[float, float, float, float, float]


KINDS = {
    "noise": Kind(add_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": Kind(blur, (1.0, 2.0, 3.0, 4.0, 6.0)),
    "jpeg": Kind(compress, (25, 18, 15, 10, 7)),
    "pixelate": Kind(pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "contrast": Kind(fade, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": Kind(brighten, (1.22, 1.44, 1.67, 1.89, 2.11)),  # what 0.1 to 0.5 more are to a grey of 0.45
}


@dataclass(frozen=True)
class Corruption:
    """One kind of harm at a strength from 1 to 5; what is random about it depends on the image's number alone."""

    kind: str
    strength: int

    def __call__(self, image: Tensor, index: int) -> Tensor:
        """Harm image number `index`: (3, h, w) uint8 -> the same; torch's generator is left as it was."""
        kind = KINDS[self.kind]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(f"corrupt {self.kind}", index))
            return kind.apply(image, kind.strengths[self.strength - 1])

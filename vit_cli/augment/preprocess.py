"""What every image goes through before the model sees it: one object for validation, eval, predict and export."""

from __future__ import annotations

from functools import lru_cache

import torch
from pydantic import PositiveFloat
from torch import Tensor

from vit_cli.augment.fit import Fit
from vit_cli.augment.resize import CropShare, Interpolation, ResizeMode
from vit_cli.section import Grid, Section


class Preprocess(Section):
    """How an image is brought to the model's resolution and range; it travels with every checkpoint.

    `short` resizes the short side to res / `crop` and takes the middle, as torchvision's presets (224 of 256: 0.875);
    `squash` stretches the whole image to res and leaves `crop` aside (Google's ViT evaluates so).
    `mean` and `std` are of red, green and blue in 0..1.
    """

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    crop: CropShare = 0.875
    resize: ResizeMode = "short"
    interpolation: Interpolation = "bicubic"


def build_eval_transform(preprocess: Preprocess, res: Grid) -> Fit:
    """Make what brings an image (3, h, w) uint8 of any size to (3, res.rows, res.columns) uint8."""
    return Fit(res, preprocess.crop, preprocess.resize, preprocess.interpolation)


def normalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """(b, 3, h, w) uint8 -> float32 of the same shape, (x / 255 - mean) / std, on the device of `images`."""
    scale, shift = scale_and_shift(preprocess.mean, preprocess.std, images.device)
    return images.to(torch.float32, copy=True).mul_(scale).add_(shift)


@lru_cache(maxsize=16)
def scale_and_shift(
    mean: tuple[float, float, float], std: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Turn mean and std into a factor and a summand, each (3, 1, 1); kept, since a copy to a GPU holds the host up."""
    with torch.inference_mode(False):
        centre, spread = torch.tensor([mean, std], dtype=torch.float64).view(2, 3, 1, 1)
        return (1 / (255 * spread)).to(device, torch.float32), (-centre / spread).to(device, torch.float32)

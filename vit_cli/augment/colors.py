"""Transforms that change colours and sharpness in place: jitter, grey, blur, 3-Augment."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.draws import PositiveRange, draw_below, draw_chance, draw_uniform
from vit_cli.augment.pixels import blur, solarise
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share

ADJUSTMENTS = (F.adjust_brightness_image, F.adjust_contrast_image, F.adjust_saturation_image, F.adjust_hue_image)


class ColorJitter(SameSize):
    """Random brightness, contrast, saturation and hue, in random order (torchvision's; Howard, 2013).

    The first three are factors within 1 ± the given, hue is turned by up to the given share of a circle. DeiT III takes
    0.3 for the first three.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    def change(self, image: Tensor) -> Tensor:
        order = torch.randperm(len(ADJUSTMENTS)).tolist()
        spans = (self.brightness, self.contrast, self.saturation, self.hue)
        factors = [draw_uniform(max(0.0, 1 - span), 1 + span) if span else 1.0 for span in spans[:3]]
        amounts = (*factors, draw_uniform(-self.hue, self.hue) if self.hue else 0.0)
        for index in order:
            if spans[index]:
                image = ADJUSTMENTS[index](image, amounts[index])
        return image


class Grayscale(SameSize):
    """Take the colour away with probability `prob`."""

    name: Literal["grayscale"] = "grayscale"
    prob: Share = 0.2

    def change(self, image: Tensor) -> Tensor:
        return F.rgb_to_grayscale_image(image, 3) if draw_chance(self.prob) else image


class GaussianBlur(SameSize):
    """Blur with probability `prob` by a Gaussian whose standard deviation, in pixels, is within `sigma`."""

    name: Literal["gaussian_blur"] = "gaussian_blur"
    prob: Share = 0.5
    sigma: PositiveRange = (0.1, 2.0)

    def change(self, image: Tensor) -> Tensor:
        return blur(image, draw_uniform(*self.sigma)) if draw_chance(self.prob) else image


class ThreeAugment(SameSize):
    """One of grey, solarised and blurred, each as likely (3-Augment of DeiT III, Touvron et al., 2022).

    The paper's list is a crop, flip, this, and color_jitter 0.3. `threshold` is where solarising begins.
    """

    name: Literal["three_augment"] = "three_augment"
    sigma: PositiveRange = (0.1, 2.0)
    threshold: Annotated[int, Field(ge=0, le=255)] = 128

    def change(self, image: Tensor) -> Tensor:
        choice = draw_below(3)
        if choice == 0:
            return F.rgb_to_grayscale_image(image, 3)
        return solarise(image, self.threshold) if choice == 1 else blur(image, draw_uniform(*self.sigma))

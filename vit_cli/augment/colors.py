"""Transforms that change colours and sharpness in place: jitter, grey, blur, 3-Augment."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from vit_cli.augment import pixels
from vit_cli.augment.dice import Dice, Floats, Integers
from vit_cli.augment.draws import PositiveRange
from vit_cli.augment.rows import Group, change_rows
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share

ADJUSTMENTS = (pixels.brighten, pixels.contrast, pixels.saturate, pixels.turn_hue)


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

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        spans = (self.brightness, self.contrast, self.saturation)
        order = dice.uniform(count=len(ADJUSTMENTS)).argsort(1)
        amounts = [dice.uniform(max(0.0, 1 - span), 1 + span) for span in spans]
        amounts.append(dice.uniform(-self.hue, self.hue))
        used = np.flatnonzero((*spans, self.hue))
        images = images.contiguous()
        for turn in order.T:
            rows = {index: np.flatnonzero(turn == index) for index in used}
            groups = [Group(rows[index], ADJUSTMENTS[index], (amounts[index][rows[index]],)) for index in used]
            images = change_rows(images, groups)
        return images


class Grayscale(SameSize):
    """Take the colour away with probability `prob`."""

    name: Literal["grayscale"] = "grayscale"
    prob: Share = 0.2

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        rows = np.flatnonzero(dice.chance(self.prob))
        return change_rows(images.contiguous(), [Group(rows, pixels.take_colour)])


class GaussianBlur(SameSize):
    """Blur with probability `prob` by a Gaussian whose standard deviation, in pixels, is within `sigma`."""

    name: Literal["gaussian_blur"] = "gaussian_blur"
    prob: Share = 0.5
    sigma: PositiveRange = (0.1, 2.0)

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        rows = np.flatnonzero(dice.chance(self.prob))
        return change_rows(images.contiguous(), blur_groups(rows, dice.uniform(*self.sigma)[rows]))


class ThreeAugment(SameSize):
    """One of grey, solarised and blurred, each as likely (3-Augment of DeiT III, Touvron et al., 2022).

    The paper's list is a crop, flip, this, and color_jitter 0.3. `threshold` is where solarising begins.
    """

    name: Literal["three_augment"] = "three_augment"
    sigma: PositiveRange = (0.1, 2.0)
    threshold: Annotated[int, Field(ge=0, le=255)] = 128

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        choice, sigmas = dice.below(3), dice.uniform(*self.sigma)
        grey, solar, blurred = (np.flatnonzero(choice == number) for number in range(3))
        thresholds = np.full(len(solar), self.threshold, dtype=np.uint8)
        groups = [Group(grey, pixels.take_colour), Group(solar, pixels.solarise, (thresholds,))]
        return change_rows(images.contiguous(), groups + blur_groups(blurred, sigmas[blurred]))


def blur_groups(rows: Integers, sigmas: Floats) -> list[Group]:
    """Say how some images are blurred by Gaussians of standard deviations `sigmas`, cut off at 3 sigma."""
    radii = np.ceil(3 * sigmas).astype(np.int64)
    groups = []
    for radius in np.unique(radii):
        chosen = radii == radius
        taps = np.exp(-0.5 * (np.arange(radius + 1) / sigmas[chosen, None]) ** 2)
        taps /= taps[:, :1] + 2 * taps[:, 1:].sum(1, keepdims=True)
        groups.append(Group(rows[chosen], pixels.blur, (taps,)))
    return groups

"""Policies without a learned table: RandAugment, TrivialAugment, AugMix."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from vit_cli.augment.dice import Dice, Floats
from vit_cli.augment.draws import Byte
from vit_cli.augment.geometry import Paint, Sampling
from vit_cli.augment.operations import (
    ENHANCEMENTS,
    IDENTITY,
    KINDS,
    MOVES,
    OPERATIONS,
    Reach,
    apply_operations,
    draw_kinds,
    draw_signs,
    draw_strengths,
)
from vit_cli.augment.pixels import each, to_bytes
from vit_cli.augment.rows import as_table
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share

WIDE = Reach(shear=0.99, translate=32.0, translate_unit="pixel", rotate=135.0, enhance=0.99, bits=(8, 2))
AUGMIX = Reach(translate=1 / 3, bits=(4, 0))
AUGMIX_OPERATIONS = (*MOVES, "posterize", "solarize", "auto_contrast", "equalize", *ENHANCEMENTS)
AUGMIX_BINS = 10
LONGEST = 3
"""So many operations a chain of AugMix has at most, unless its depth is given."""


class RandAugment(SameSize):
    """`ops` of torchvision's 14 operations, drawn with replacement, all of one strength (Cubuk et al., 2020).

    The strength is magnitude / (bins - 1) of AutoAugment's reach: shear 0.3, translate 150/331 of the side, rotate 30°,
    enhance ± 0.9, posterise to 4 bits, solarise all. With 31 bins this is torchvision's RandAugment(ops, magnitude).
    big_vision and timm count to 10: for their strength write bins: 11; timm's rand-m9-mstd0.5-inc1 (DeiT) is about
    {magnitude: 9, bins: 11, prob: 0.5}. Each operation is left out with probability 1 - `prob`.
    """

    name: Literal["randaugment"] = "randaugment"
    ops: NonNegativeInt = 2
    magnitude: NonNegativeInt = 9
    bins: Annotated[int, Field(ge=2)] = 31
    prob: Share = 1.0
    interpolation: Sampling = "nearest"
    fill: Byte = 0

    @model_validator(mode="after")
    def check_magnitude(self) -> RandAugment:
        if self.magnitude >= self.bins:
            raise ValueError(f"magnitude {self.magnitude} is beyond the last of {self.bins} bins, {self.bins - 1}")
        return self

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        strength, paint = self.magnitude / (self.bins - 1), Paint(self.interpolation, self.fill)
        images = images.contiguous()
        for _ in range(self.ops):
            kinds = np.where(dice.chance(self.prob), draw_kinds(OPERATIONS, dice), KINDS.index(IDENTITY))
            images = apply_operations(images, kinds, strength * draw_signs(kinds, dice), Reach(), paint)
        return images


class TrivialAugment(SameSize):
    """One of torchvision's 14 operations, of random strength (TrivialAugment Wide, Müller & Hutter, 2021)."""

    name: Literal["trivial_augment"] = "trivial_augment"
    bins: Annotated[int, Field(ge=2)] = 31
    interpolation: Sampling = "nearest"
    fill: Byte = 0

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        kinds = draw_kinds(OPERATIONS, dice)
        strengths = draw_strengths(kinds, self.bins, self.bins, dice)
        return apply_operations(images.contiguous(), kinds, strengths, WIDE, Paint(self.interpolation, self.fill))


class AugMix(SameSize):
    """A random blend of the image and `width` chains of operations on it (Hendrycks et al., 2020), as in torchvision.

    A chain has `depth` operations, 1 to 3 at random if null; `severity` of 10 bounds their strength; `alpha` is that of
    the Dirichlet and Beta distributions of the weights.
    """

    name: Literal["augmix"] = "augmix"
    severity: Annotated[int, Field(ge=1, le=AUGMIX_BINS)] = 3
    width: PositiveInt = 3
    depth: PositiveInt | None = None
    alpha: PositiveFloat = 1.0
    interpolation: Sampling = "bilinear"
    fill: Byte = 0

    def change(self, images: Tensor, dice: Dice) -> Tensor:
        weights = as_table(draw_weights(self.alpha, self.width, dice).T, images.device)
        kept, *weights = (each(weight) for weight in weights)
        blend = images * kept
        for weight in weights:
            blend.add_(self.change_in_chain(images, dice) * weight)
        return to_bytes(blend.round_())

    def change_in_chain(self, images: Tensor, dice: Dice) -> Tensor:
        """Apply one chain of random operations to each of (b, 3, h, w) images."""
        images, depths = images.contiguous(), self.depth or 1 + dice.below(LONGEST)
        for step in range(self.depth or LONGEST):
            kinds = np.where(step < depths, draw_kinds(AUGMIX_OPERATIONS, dice), KINDS.index(IDENTITY))
            strengths = draw_strengths(kinds, self.severity, AUGMIX_BINS, dice)
            images = apply_operations(images, kinds, strengths, AUGMIX, Paint(self.interpolation, self.fill))
        return images


def draw_weights(alpha: float, width: int, dice: Dice) -> Floats:
    """Draw each image's own weight from Beta(alpha, alpha), and how `width` chains share the rest: (b, 1 + width).

    The shares are from a symmetric Dirichlet distribution; each image has a generator of its own for both.
    """
    weights = np.empty((len(dice), 1 + width))
    for row, key in enumerate(dice.fork(0).keys):
        random = np.random.Generator(np.random.Philox(key=key))
        own = random.beta(alpha, alpha)
        weights[row] = own, *(1 - own) * random.dirichlet(np.full(width, alpha))
    return weights

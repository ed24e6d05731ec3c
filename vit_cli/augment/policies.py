"""Policies without a learned table: RandAugment, TrivialAugment, AugMix."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from vit_cli.augment.draws import Byte, draw_below, draw_chance
from vit_cli.augment.geometry import Sampling
from vit_cli.augment.operations import (
    ENHANCEMENTS,
    MOVES,
    OPERATIONS,
    Paint,
    Reach,
    apply_operation,
    draw_sign,
    draw_strength,
)
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share

WIDE = Reach(shear=0.99, translate=32.0, translate_unit="pixel", rotate=135.0, enhance=0.99, bits=(8, 2))
AUGMIX = Reach(translate=1 / 3, bits=(4, 0))
AUGMIX_OPERATIONS = (*MOVES, "posterize", "solarize", "auto_contrast", "equalize", *ENHANCEMENTS)
AUGMIX_BINS = 10


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

    def change(self, image: Tensor) -> Tensor:
        strength, paint = self.magnitude / (self.bins - 1), Paint(self.interpolation, self.fill)
        for _ in range(self.ops):
            if self.prob == 1 or draw_chance(self.prob):
                operation = OPERATIONS[draw_below(len(OPERATIONS))]
                image = apply_operation(image, operation, strength * draw_sign(operation), Reach(), paint)
        return image


class TrivialAugment(SameSize):
    """One of torchvision's 14 operations, of random strength (TrivialAugment Wide, Müller & Hutter, 2021)."""

    name: Literal["trivial_augment"] = "trivial_augment"
    bins: Annotated[int, Field(ge=2)] = 31
    interpolation: Sampling = "nearest"
    fill: Byte = 0

    def change(self, image: Tensor) -> Tensor:
        operation = OPERATIONS[draw_below(len(OPERATIONS))]
        strength = draw_strength(operation, self.bins, self.bins)
        return apply_operation(image, operation, strength, WIDE, Paint(self.interpolation, self.fill))


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

    def change(self, image: Tensor) -> Tensor:
        kept, changed = draw_weights(self.alpha, 2)
        blend = image * kept
        for weight in draw_weights(self.alpha, self.width):
            blend.add_(self.change_in_chain(image), alpha=changed * weight)
        return blend.round_().clamp_(0, 255).to(torch.uint8)

    def change_in_chain(self, image: Tensor) -> Tensor:
        """Apply one chain of random operations to (3, h, w)."""
        paint = Paint(self.interpolation, self.fill)
        for _ in range(self.depth or 1 + draw_below(3)):
            operation = AUGMIX_OPERATIONS[draw_below(len(AUGMIX_OPERATIONS))]
            strength = draw_strength(operation, self.severity, AUGMIX_BINS)
            image = apply_operation(image, operation, strength, AUGMIX, paint)
        return image


def draw_weights(alpha: float, count: int) -> list[float]:
    """Draw weights that add up to 1 from a symmetric Dirichlet distribution."""
    dirichlet = torch.distributions.Dirichlet(torch.full((count,), alpha), validate_args=False)
    weights: list[float] = dirichlet.sample().tolist()
    return weights

"""The union of all per-image transforms, and the chain that a recipe's `augment` list makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Tensor

from vit_cli.augment.autoaugment import AutoAugment
from vit_cli.augment.colors import ColorJitter, GaussianBlur, Grayscale, ThreeAugment
from vit_cli.augment.crops import RandomCrop, RandomResizedCrop, Resize
from vit_cli.augment.erasing import RandomErasing
from vit_cli.augment.geometry import Affine, Flip
from vit_cli.augment.policies import AugMix, RandAugment, TrivialAugment
from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.section import Grid

Transform = Annotated[
    RandomResizedCrop
    | RandomCrop
    | Resize
    | Flip
    | Affine
    | RandAugment
    | TrivialAugment
    | AutoAugment
    | AugMix
    | ThreeAugment
    | ColorJitter
    | Grayscale
    | GaussianBlur
    | RandomErasing,
    Field(discriminator="name"),
]


def build_train_transform(items: Sequence[Transform], res: Grid, preprocess: Preprocess) -> Callable[[Tensor], Tensor]:
    """Chain the transforms of a recipe: (3, h, w) uint8 of any size -> contiguous (3, res.rows, res.columns) uint8.

    If no item gives an image its size, the evaluation's resize comes first. The result can be pickled, never changes
    its argument (but may return it), and draws from torch's default CPU generator alone.
    """
    steps = [item.build(res) for item in items]
    if not any(item.sizes for item in items):
        steps.insert(0, build_eval_transform(preprocess, res))
    return partial(apply_all, steps=tuple(steps))


def apply_all(image: Tensor, *, steps: tuple[Callable[[Tensor], Tensor], ...]) -> Tensor:
    """Apply `steps` in order."""
    for step in steps:
        image = step(image)
    return image.contiguous()

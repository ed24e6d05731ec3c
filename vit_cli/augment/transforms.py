"""The union of all transforms of training images, and the chain that a recipe's `augment` list makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from vit_cli.augment.autoaugment import AutoAugment
from vit_cli.augment.colors import ColorJitter, GaussianBlur, Grayscale, ThreeAugment
from vit_cli.augment.crops import RandomCrop, RandomResizedCrop, Resize
from vit_cli.augment.dice import Dice, Floats
from vit_cli.augment.erasing import RandomErasing
from vit_cli.augment.geometry import Affine, Flip
from vit_cli.augment.policies import AugMix, RandAugment, TrivialAugment
from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.augment.same_size import SameSize
from vit_cli.keys import Keys
from vit_cli.section import Grid, Look

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


class Sizer(Protocol):
    """Gives images the model's resolution."""

    def draw(self, dice: Dice) -> Floats:
        """Draw for each image what does not depend on its size: (b, ...)."""

    def look(self, h: int, w: int, drawn: Sequence[Any]) -> Look:
        """Say what is needed of an image of h x w pixels."""

    def take_all(self, images: Tensor, drawn: Floats) -> Tensor:
        """Bring b images of one size to the resolution: on a CPU to the bit as by `look`, on a GPU within two levels."""


class Placed(NamedTuple):
    """A transform that keeps the size, and its place in the list, by which its random numbers are told from others'."""

    place: int
    transform: SameSize


class Drawn(NamedTuple):
    """What was drawn for one image before it is decoded: the key of its randomness, and what each of its sizers drew."""

    key: Keys
    sizers: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Augmentation:
    """A recipe's `augment` list. Images are brought to one size one by one (`look`), and then changed together.

    All that is random about an image is a function of its key. What is in the list before the last transform that sizes
    happens to each image by itself. Can be pickled.
    """

    alone: tuple[Placed | Sizer, ...]
    sizer: Sizer
    together: tuple[Placed, ...]

    def at(self, step: int) -> Augmentation:  # noqa: ARG002
        """Give what happens to the images of a step: the same in every step."""
        return self

    def draw(self, keys: Keys) -> list[Drawn]:
        """Draw for b images what has to be known before they are decoded."""
        sizers = [step for step in (*self.alone, self.sizer) if not isinstance(step, Placed)]
        dice = Dice(keys)
        drawn = [sizer.draw(dice.fork(-1 - place)).tolist() for place, sizer in enumerate(sizers)]
        return [Drawn(keys[row : row + 1], [each[row] for each in drawn]) for row in range(len(keys))]

    def look(self, h: int, w: int, drawn: Drawn) -> Look:
        """Say what is needed of an image of h x w pixels, and how it gets the model's resolution."""
        if not self.alone:
            return self.sizer.look(h, w, drawn.sizers[0])
        return Look(None, None, partial(self.take_in_turn, drawn=drawn))

    def take_in_turn(self, pixels: Tensor, drawn: Drawn) -> Tensor:
        """Apply what precedes the last sizer, and that."""
        sizers, dice = iter(drawn.sizers), Dice(drawn.key)
        for step in (*self.alone, self.sizer):
            if isinstance(step, Placed):
                pixels = step.transform.change(pixels[None], dice.fork(step.place))[0]
            else:
                h, w = pixels.shape[-2:]
                pixels = step.look(h, w, next(sizers)).take(pixels)
        return pixels

    def bring(self, images: Tensor, keys: Keys) -> Tensor:
        """Bring decoded images of one size, (b, 3, h, w) uint8, to the model's resolution."""
        if not self.alone:
            return self.sizer.take_all(images, self.sizer.draw(Dice(keys).fork(-1)))
        h, w = images.shape[-2:]
        looks = (self.look(h, w, drawn) for drawn in self.draw(keys))
        return torch.stack([look.take(image) for image, look in zip(images, looks, strict=True)])

    def change(self, images: Tensor, keys: Keys) -> Tensor:
        """Change (b, 3, rows, columns) uint8 images of the model's resolution, on their device; the argument stays."""
        dice = Dice(keys)
        for place, transform in self.together:
            images = transform.change(images, dice.fork(place))
        return images


def build_augmentation(items: Sequence[Transform], res: Grid, preprocess: Preprocess) -> Augmentation:
    """Chain the transforms of a recipe; if none of them gives an image its size, the evaluation's resize comes first."""
    steps = [Placed(place, item) if isinstance(item, SameSize) else item.build(res) for place, item in enumerate(items)]
    sizers = [place for place, step in enumerate(steps) if not isinstance(step, Placed)]
    if not sizers:
        steps.insert(0, build_eval_transform(preprocess, res))
    last = sizers[-1] if sizers else 0
    sizer, together = steps[last], steps[last + 1 :]
    assert not isinstance(sizer, Placed)
    return Augmentation(tuple(steps[:last]), sizer, tuple(step for step in together if isinstance(step, Placed)))


@dataclass(frozen=True)
class PhasedAugmentation:
    """An augmentation for each phase of a run, which ends before the step beside it; they differ in the resolution alone."""

    phases: tuple[tuple[int, Augmentation], ...]

    def at(self, step: int) -> Augmentation:
        """Give what happens to the images of a step."""
        return next(augmentation for end, augmentation in self.phases if step < end)

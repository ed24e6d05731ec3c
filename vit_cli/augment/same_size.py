"""What all transforms that keep an image's size have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from vit_cli.augment.dice import Dice
from vit_cli.section import Section


class SameSize(Section):
    """A transform that keeps an image's size. (`sizes` says whether a transform brings an image to res.)"""

    sizes: ClassVar[bool] = False

    @abstractmethod
    def change(self, images: Tensor, dice: Dice) -> Tensor:
        """Give images (b, 3, h, w) uint8 of any memory layout changed, on their device; the argument stays as it is.

        What becomes of an image depends on it and its own numbers alone, on a CPU to the bit; the whole batch may be
        given back as it came.
        """

"""What all transforms that keep an image's size have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from vit_cli.section import Grid, Section


class SameSize(Section):
    """A transform that keeps an image's size. (`sizes` says whether a transform brings an image to res.)"""

    sizes: ClassVar[bool] = False

    def build(self, res: Grid) -> Callable[[Tensor], Tensor]:
        """Give the function from an image (3, h, w) uint8 to a changed copy or to itself; it can be pickled."""
        del res  # any size will do
        return self.change

    @abstractmethod
    def change(self, image: Tensor) -> Tensor:
        """Change an image (3, h, w) uint8, leaving the argument as it is."""

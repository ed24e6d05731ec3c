"""Random numbers for images in a batch: what an image gets depends on its own key alone, never on its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vit_cli.keys import Keys, count_on

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Dice:
    """A stream of random numbers for each of b images, of its key and of how many were drawn before.

    All images draw at once: a draw that only some need is made for all, or by `pick` from a stream of their own.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.drawn = 0

    def __len__(self) -> int:
        return len(self.keys)

    def fork(self, number: int) -> Dice:
        """Give other streams, such as those of the transform in place `number`; this one goes on as if nothing was."""
        return Dice(count_on(self.keys ^ np.uint64(0x5851F42D4C957F2D), number))

    def pick(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Dice:
        """Give the streams of some images, which go on from here on their own."""
        picked = Dice(self.keys[rows])
        picked.drawn = self.drawn
        return picked

    def uniform(self, low: float = 0.0, high: float = 1.0, count: int | None = None) -> Floats:
        """Draw numbers in [low, high): (b,), or (b, count)."""
        numbers = np.arange(self.drawn, self.drawn + (1 if count is None else count))
        self.drawn += len(numbers)
        bits = count_on(self.keys[:, None], numbers) >> np.uint64(11)
        drawn = low + (high - low) * (bits * 2.0**-53)
        return drawn[:, 0] if count is None else drawn

    def below(self, count: int) -> Integers:
        """Draw one of 0 ... count - 1 for each: (b,)."""
        return (self.uniform() * count).astype(np.int64)

    def chance(self, prob: float) -> NDArray[np.bool_]:
        """Be true with probability `prob`, always for 1 and never for 0: (b,)."""
        return self.uniform() < prob

"""The order of the training images: one stream over all epochs, computed wherever it is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vit_cli.keys import derive, mix

ROUNDS = 8
SMALLEST_SIDE = 4


class Permutation:
    """A shuffle of 0..n-1 that takes no memory: a keyed one-to-one function (n up to 2**40).

    A generalised Feistel cipher on pairs (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002): x is a place
    in a grid of `rows` x `columns` >= n; each round moves one coordinate by a keyed hash of the other; what falls
    beyond n is sent through again.
    """

    def __init__(self, n: int, key: int) -> None:
        self.n = n
        self.columns = max(SMALLEST_SIDE, math.isqrt(max(n - 1, 0)) + 1)
        self.rows = max(SMALLEST_SIDE, -(-n // self.columns))
        self.keys = np.array([derive("round", key, number) for number in range(2 * ROUNDS)], dtype=np.uint64)

    def __call__(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the image of each of `x`, all in 0..n-1."""
        y = self.shuffle(x)
        while (beyond := np.flatnonzero(y >= self.n)).size:
            y[beyond] = self.shuffle(y[beyond])
        return y

    def shuffle(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Permute the places of the whole grid."""
        row, column = np.divmod(x.astype(np.uint64), np.uint64(self.columns))
        for first, second in self.keys.reshape(ROUNDS, 2):
            row = (row + mix(column ^ first) % np.uint64(self.rows)) % np.uint64(self.rows)
            column = (column + mix(row ^ second) % np.uint64(self.columns)) % np.uint64(self.columns)
        return (row * np.uint64(self.columns) + column).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Draws:
    """Some images of a batch, each (b,) int64: which image, the key of its randomness, its place in the batch."""

    indices: NDArray[np.int64]
    epochs: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """Which images make up the batch of every step; `batch_size` is the global batch, `repeats` its views of an image.

    Batch after batch is cut from one stream that shuffles all images anew in every epoch; an epoch need not end with a
    batch. With repeats m, the batch has ceil(batch_size / m) images; position i shows image `i % u` in its view `i //
    u`.
    """

    images: int
    seed: int
    batch_size: int
    repeats: int = 1

    def draws(self, step: int, start: int = 0, stop: int | None = None) -> Draws:
        """Give positions `start` to `stop` of the global batch of `step`.

        The randomness of an image is that of (seed, epochs, indices), where `epochs` is epoch * repeats + view.
        """
        unique = -(-self.batch_size // self.repeats)
        positions = np.arange(start, self.batch_size if stop is None else stop, dtype=np.int64)
        views, slots = np.divmod(positions, unique)
        epochs, places = np.divmod(step * unique + slots, self.images)
        indices = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = Permutation(self.images, derive("order", self.seed, int(epoch)))(places[here])
        return Draws(indices, epochs * self.repeats + views, positions)

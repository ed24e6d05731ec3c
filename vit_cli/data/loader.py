"""Batches of training and evaluation, the same for any number of workers and processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vit_cli.data.ahead import Patience, make_batches
from vit_cli.data.bad import Bad
from vit_cli.data.decode import MAX_PIXELS, BadImage, one_line, to_pixels
from vit_cli.data.keys import derive
from vit_cli.data.order import Draws, Order
from vit_cli.data.samples import Samples
from vit_cli.errors import DataError

Transform = Callable[[Tensor], Tensor]
"""(3, h, w) uint8 -> (3, H, W) uint8; random only through torch's default generator on the CPU."""
WAITS = (0.1, 0.5)
"""Seconds to wait before a file that could not be read is tried again; missing and forbidden files are not."""
ATTEMPTS = 20
"""So many images in a row may be broken before the search for a readable one is given up."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (b, 3, H, W) uint8 and labels (b,) int64; for training also what was drawn, and which images were broken.

    `indices` and `epochs` are (b,) int64 on the CPU: the draw of each position, also where its image was replaced.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    epochs: Tensor
    bad: tuple[Bad, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Batch:
        """Move images and labels, without waiting for it if they are pinned."""
        images = self.images.to(device, non_blocking=True)
        return Batch(images, self.labels.to(device, non_blocking=True), self.indices, self.epochs, self.bad)

    def pin_memory(self) -> Batch:
        """Move images and labels into memory that a GPU can fetch from by itself (called by DataLoader)."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.indices, self.epochs, self.bad)


class TrainBatches:
    """The batches of `steps`, as seen by process `rank` of `size`; iterate once for the whole run.

    The transform of an image runs with torch's generator seeded by (seed, epoch key, index) alone. A broken image is
    replaced by another, drawn by the same key and the number of the attempt, and reported in `bad`. Raises DataError.
    """

    def __init__(
        self,
        samples: Samples,
        order: Order,
        transform: Transform,
        *,
        steps: range,
        rank: int = 0,
        size: int = 1,
        workers: int = 0,
        max_pixels: int = MAX_PIXELS,
        patience: Patience = Patience(),
    ) -> None:
        self.samples = samples
        self.order = order
        self.transform = transform
        self.steps = steps
        self.start = rank * order.batch_size // size
        self.stop = (rank + 1) * order.batch_size // size
        self.workers = workers
        self.patience = patience
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        return make_batches(self.make, self.steps, self.workers, self.patience)

    def make(self, step: int) -> Batch:
        """Make this process's part of the batch of a step."""
        draws = self.order.draws(step, self.start, self.stop)
        images: list[Tensor] = []
        rows: list[int] = []
        bad: list[Bad] = []
        with torch.random.fork_rng(devices=[]):
            for epoch, index in zip(draws.epochs.tolist(), draws.indices.tolist(), strict=True):
                pixels, row = self.find(epoch, index, bad)
                torch.default_generator.manual_seed(derive("augment", self.order.seed, epoch, index))
                images.append(self.transform(pixels))
                rows.append(row)
        return assemble(self.samples, images, rows, draws, bad)

    def find(self, epoch: int, index: int, bad: list[Bad]) -> tuple[Tensor, int]:
        """Give the pixels of image `index`, or of another in its place, and which it was; add broken ones to `bad`."""
        row = index
        for attempt in range(ATTEMPTS):
            try:
                return read_pixels(self.samples, row, self.max_pixels), row
            except BadImage as error:
                bad.append(Bad(row, self.samples.name(row), error.reason))
            row = derive("replace", self.order.seed, epoch, index, attempt) % len(self.samples)
        raise DataError(
            f"{ATTEMPTS} training images drawn in a row are broken; the last is {bad[-1].path} ({bad[-1].reason})",
            "check that data.train names the right place",
        )


class EvalBatches:
    """All images once and in order, in batches of `batch_size`; process `rank` of `size` makes every size-th batch.

    The last batch may be short, or empty: every process makes as many as the others.
    Raises DataError, naming the file, if an image is broken.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Transform,
        *,
        batch_size: int,
        rank: int = 0,
        size: int = 1,
        workers: int = 0,
        max_pixels: int = MAX_PIXELS,
        patience: Patience = Patience(),
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.batch_size = batch_size
        self.patience = patience
        batches = -(-len(samples) // batch_size)
        self.numbers = range(rank, -(-batches // size) * size, size)
        self.workers = workers
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        return make_batches(self.make, self.numbers, self.workers, self.patience)

    def make(self, number: int) -> Batch:
        """Make one batch."""
        start = number * self.batch_size
        rows = range(start, min(start + self.batch_size, len(self.samples)))
        images = [
            self.transform(self.pixels(row)) for row in rows or range(1)
        ]  # an empty batch too has a size of image
        indices = np.asarray(rows, dtype=np.int64)
        return assemble(self.samples, images, rows, Draws(indices, np.zeros_like(indices), indices))

    def pixels(self, row: int) -> Tensor:
        """Read one image: (3, h, w)."""
        try:
            return read_pixels(self.samples, row, self.max_pixels)
        except BadImage as error:
            raise DataError(
                f"{self.samples.name(row)} can't be evaluated: {error.reason}",
                "mend or remove it; evaluation leaves no image out by itself",
            ) from error


def read_pixels(samples: Samples, index: int, max_pixels: int) -> Tensor:
    """Read and decode an image: (3, h, w) uint8. Raises BadImage, after trying a failing disk again."""
    for wait in (*WAITS, None):
        try:
            return to_pixels(samples.read(index), max_pixels)
        except OSError as error:
            if wait is None or isinstance(error, FileNotFoundError | PermissionError):
                raise BadImage(f"unreadable: {error.strerror or one_line(error)}") from error
            time.sleep(wait)
    raise AssertionError("the last wait is None")


def assemble(
    samples: Samples,
    images: Sequence[Tensor],
    rows: Sequence[int],
    draws: Draws,
    bad: Sequence[Bad] = (),
) -> Batch:
    """Put images together; `rows` are those shown, which differ from those drawn where one was broken."""
    labels = torch.from_numpy(samples.labels[np.asarray(rows, dtype=np.int64)])
    stacked = torch.stack(list(images)).contiguous()[: len(rows)]
    return Batch(stacked, labels, torch.from_numpy(draws.indices), torch.from_numpy(draws.epochs), tuple(bad))

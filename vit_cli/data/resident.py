"""Training batches from images that are decoded already, in memory or on the device: no workers, several batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.data.ahead import Patience, make_batches
from vit_cli.data.batch import Batch, Stages, Stopwatch
from vit_cli.data.cache import Cached
from vit_cli.data.order import Order
from vit_cli.data.samples import Pixels, Samples, View
from vit_cli.keys import Keys, image_keys
from vit_cli.section import Grid

BLOCK_IMAGES = 2048
BLOCK_BYTES = 32 * 2**20
"""Batches are made ahead together, up to so many images or bytes: the cost of a call is shared by more of them."""
SMALL = 96 * 96
"""Images of more pixels are left to workers, where there is more to do for each than to call for it."""


class Augmentation(Protocol):
    """What happens to images that have one size: all are brought to the model's resolution, then changed."""

    def at(self, step: int) -> Augmentation:
        """Give what happens to the images of a step, as `Course` does."""

    def bring(self, images: Tensor, keys: Keys) -> Tensor:
        """(b, 3, h, w) uint8 -> (b, 3, rows, columns)."""

    def change(self, images: Tensor, keys: Keys) -> Tensor:
        """Change (b, 3, rows, columns) uint8; the argument stays as it is."""


class Course(Protocol):
    """What happens to training images in the course of a run."""

    def at(self, step: int) -> Augmentation:
        """Give what happens to the images of a step."""


@dataclass(frozen=True)
class Resident:
    """Decoded images of one size, (n, h, w) grey or (n, h, w, 3), of which image `i` is `pixels[rows[i]]`."""

    pixels: Tensor
    rows: NDArray[np.int64]

    def take(self, indices: NDArray[np.int64]) -> Tensor:
        """Give images: (b, 3, h, w), the colours of a pixel side by side."""
        rows = torch.from_numpy(self.rows[indices])
        if self.pixels.is_cuda:
            rows = rows.pin_memory().to(self.pixels.device, non_blocking=True)
        images = self.pixels[rows]
        if images.ndim == 3:
            images = images[..., None].expand(-1, -1, -1, 3).contiguous()
        return images.permute(0, 3, 1, 2)

    def to(self, device: torch.device) -> Resident:
        """Move all images to `device`."""
        return Resident(self.pixels.to(device), self.rows)


def find_resident(samples: Samples, most_pixels: int = SMALL) -> Resident | None:
    """Give the pixels of samples that are in memory, if all are of one size of at most so many pixels; else None."""
    rows = np.arange(len(samples), dtype=np.int64)
    base: Any = samples
    while isinstance(base, View):
        rows, base = base.rows[rows], base.base
    if isinstance(base, Pixels):
        pixels = torch.from_numpy(base.pixels)
    elif isinstance(base, Cached) and len(base) and (base.shapes == base.shapes[0]).all() and base.shapes[0].all():
        pixels = base.pixels.view(len(base), *base.shapes[0].tolist(), 3)
    else:
        return None
    return Resident(pixels, rows) if pixels.shape[1] * pixels.shape[2] <= most_pixels else None


class ResidentBatches:
    """The batches of `steps`, as TrainBatches makes them, as seen by process `rank` of `size`; images are no larger than `res`.

    Unless it `changes` images, they are left as they have been brought to size.
    """

    def __init__(
        self,
        samples: Samples,
        resident: Resident,
        order: Order,
        augmentation: Course,
        *,
        res: Grid,
        steps: range,
        rank: int = 0,
        size: int = 1,
        workers: int = 0,
        patience: Patience = Patience(),
        changes: bool = True,
    ) -> None:
        self.labels = samples.labels
        self.resident = resident
        self.order = order
        self.augmentation = augmentation
        self.steps = steps
        height, width = resident.pixels.shape[1:3]
        at_once = BLOCK_BYTES // (3 * max(height * width, res.rows * res.columns))
        self.images_at_once = max(1, min(BLOCK_IMAGES, at_once))
        self.changes = changes
        self.workers = workers
        self.patience = patience
        self.start = rank * order.batch_size // size
        self.stop = (rank + 1) * order.batch_size // size

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        at_once = max(1, self.images_at_once // (self.stop - self.start))
        blocks = [self.steps[first : first + at_once] for first in range(0, len(self.steps), at_once)]
        for batches in make_batches(self.make, blocks, self.workers, self.patience):
            yield from batches

    def make(self, steps: range) -> list[Batch]:
        """Make this process's parts of the batches of some steps."""
        alike = groupby(steps, self.augmentation.at)
        return [batch for augmentation, part in alike for batch in self.make_alike(list(part), augmentation)]

    def make_alike(self, steps: list[int], augmentation: Augmentation) -> list[Batch]:
        """Make the same of steps with one augmentation."""
        watch = Stopwatch()
        draws = [self.order.draws(step, self.start, self.stop) for step in steps]
        indices = np.concatenate([draw.indices for draw in draws])
        epochs = np.concatenate([draw.epochs for draw in draws])
        keys = image_keys(self.order.seed, epochs, indices)
        images = augmentation.bring(self.resident.take(indices), keys).contiguous()  # changed faster so
        watch.lap("cut")
        if self.changes:
            images = augmentation.change(images, keys)
        images = images.contiguous()
        watch.lap("change")
        labels = torch.from_numpy(self.labels[indices])
        seconds = Stages(*(part / len(steps) for part in watch.stages()))
        whole = (images, labels, torch.from_numpy(indices), torch.from_numpy(epochs))
        parts = zip(*(field.split(self.stop - self.start) for field in whole), strict=True)
        return [Batch(*part).timed(seconds) for part in parts]

"""Batches of training and evaluation, the same for any number of workers and processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from vit_cli.data.ahead import Patience, make_batches
from vit_cli.data.bad import Bad
from vit_cli.data.batch import Batch, Stopwatch, assemble
from vit_cli.data.decode import MAX_PIXELS, BadImage, Picture, one_line, open_picture
from vit_cli.data.encoded import Jpeg, is_plain, join
from vit_cli.data.order import Draws, Order
from vit_cli.data.remote import GaveUp
from vit_cli.data.samples import Samples
from vit_cli.errors import DataError
from vit_cli.keys import Keys, derive, image_keys
from vit_cli.section import Grid, Look

WAITS = (0.1, 0.5)
"""Seconds to wait before a file that could not be read is tried again."""
HOPELESS = (FileNotFoundError, PermissionError, GaveUp)
"""Errors after which a file is not tried again."""
LARGE = 1_000_000
"""Pictures of so many pixels may be decoded at 1/2, 1/4 or 1/8 of their size where no more is needed."""
ATTEMPTS = 20
"""So many images in a row may be broken before the search for a readable one is given up."""


class Augmentation(Protocol):
    """What happens to training images: each is brought to the model's resolution, then all are changed together.

    All that is random about an image is a function of its key.
    """

    def at(self, step: int) -> Augmentation:
        """Give what happens to the images of a step, as `Course` does."""

    def draw(self, keys: Keys) -> Sequence[Any]:
        """Draw for each image what `look` needs."""

    def look(self, h: int, w: int, drawn: Any) -> Look:
        """Say what is needed of a picture of h x w pixels, and how it gets the model's resolution."""

    def change(self, images: Tensor, keys: Keys) -> Tensor:
        """Change (b, 3, rows, columns) uint8 of the model's resolution, on their device; the argument stays as it is."""


class Course(Protocol):
    """What happens to training images in the course of a run."""

    def at(self, step: int) -> Augmentation:
        """Give what happens to the images of a step."""


class TrainBatches:
    """The batches of `steps`, as seen by process `rank` of `size`; iterate once for the whole run.

    A broken image is replaced by another, drawn by the key of the first and the number of the attempt, and reported in
    `bad`. Unless it `changes` images, they are left as they have been brought to size; unless it `decodes` them, plain JPEGs
    that need all of their pixels are left encoded. With `res`, the size of all images, batches come from workers faster.
    Raises DataError.
    """

    def __init__(
        self,
        samples: Samples,
        order: Order,
        augmentation: Course,
        *,
        steps: range,
        rank: int = 0,
        size: int = 1,
        workers: int = 0,
        max_pixels: int = MAX_PIXELS,
        patience: Patience = Patience(),
        changes: bool = True,
        decodes: bool = True,
        res: Grid | None = None,
    ) -> None:
        self.samples = samples
        self.order = order
        self.augmentation = augmentation
        self.steps = steps
        self.start = rank * order.batch_size // size
        self.stop = (rank + 1) * order.batch_size // size
        self.workers = workers
        self.patience = patience
        self.max_pixels = max_pixels
        self.changes = changes
        self.decodes = decodes
        self.most_bytes = count_bytes(self.stop - self.start, res) if decodes else 0

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        return make_batches(self.make, self.steps, self.workers, self.patience, self.most_bytes)

    def make(self, step: int) -> Batch:
        """Make this process's part of the batch of a step."""
        return self.make_of(self.order.draws(step, self.start, self.stop), step)

    def make_of(self, draws: Draws, step: int = 0) -> Batch:
        """Make the images of some draws, as they are shown at a step."""
        watch, augmentation = Stopwatch(), self.augmentation.at(step)
        keys = image_keys(self.order.seed, draws.epochs, draws.indices)
        images: list[Tensor] = []
        jpegs: dict[int, Jpeg] = {}
        rows: list[int] = []
        bad: list[Bad] = []
        for place, drawn in enumerate(augmentation.draw(keys)):
            image, row = self.find(draws, place, partial(augmentation.look, drawn=drawn), bad, watch)
            if isinstance(image, Jpeg):
                jpegs[place] = image
            else:
                images.append(image)
            rows.append(row)
        batch = assemble(self.samples, images, rows, draws, bad)
        if jpegs:
            batch = replace(batch, encoded=join(jpegs))
        watch.lap("cut")
        if self.changes:
            batch = change(batch, augmentation, self.order.seed)
        watch.lap("change")
        return batch.timed(watch.stages())

    def find(
        self, draws: Draws, place: int, look_at: Callable[[int, int], Look], bad: list[Bad], watch: Stopwatch
    ) -> tuple[Tensor | Jpeg, int]:
        """Give the image of a place in the batch, or another for it, and its row; add broken ones to `bad`."""
        epoch, index = int(draws.epochs[place]), int(draws.indices[place])
        row = index
        for attempt in range(ATTEMPTS):
            try:
                picture = read_picture(self.samples, row, self.max_pixels)
                watch.lap("read")
                look = look_at(picture.rows, picture.columns)
                if not self.decodes and not is_large(picture) and is_plain(picture):
                    return Jpeg(picture.data, look.take), row
                return show(picture, look, watch), row
            except BadImage as error:
                bad.append(Bad(row, self.samples.name(row), error.reason))
            row = derive("replace", self.order.seed, epoch, index, attempt) % len(self.samples)
        raise DataError(
            f"{ATTEMPTS} training images drawn in a row are broken; the last is {bad[-1].path} ({bad[-1].reason})",
            "check that data.train names the right place",
        )


class EvalBatches:
    """All images once and in order, in batches of `batch_size`; process `rank` of `size` makes every size-th batch.

    The last batch may be short, or empty: every process makes as many as the others. `alter` changes each image once it has
    its size, and is told its number. Raises DataError, naming the file, if an image is broken.
    """

    def __init__(
        self,
        samples: Samples,
        look: Callable[[int, int], Look],
        *,
        batch_size: int,
        rank: int = 0,
        size: int = 1,
        workers: int = 0,
        max_pixels: int = MAX_PIXELS,
        patience: Patience = Patience(),
        res: Grid | None = None,
        alter: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        self.samples = samples
        self.look = look
        self.alter = alter
        self.batch_size = batch_size
        self.patience = patience
        batches = -(-len(samples) // batch_size)
        self.numbers = range(rank, -(-batches // size) * size, size)
        self.workers = workers
        self.max_pixels = max_pixels
        self.most_bytes = count_bytes(batch_size, res)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        return make_batches(self.make, self.numbers, self.workers, self.patience, self.most_bytes)

    def make(self, number: int) -> Batch:
        """Make one batch."""
        start, watch = number * self.batch_size, Stopwatch()
        rows = range(start, min(start + self.batch_size, len(self.samples)))
        images = [self.image(row, watch) for row in rows or range(1)]  # an empty batch too has a size of image
        indices = np.asarray(rows, dtype=np.int64)
        batch = assemble(self.samples, images, rows, Draws(indices, np.zeros_like(indices), indices))
        watch.lap("cut")
        return batch.timed(watch.stages())

    def image(self, row: int, watch: Stopwatch) -> Tensor:
        """Read one image and bring it to the model's resolution: (3, rows, columns)."""
        try:
            picture = read_picture(self.samples, row, self.max_pixels)
            watch.lap("read")
            image = show(picture, self.look(picture.rows, picture.columns), watch)
            return self.alter(image, row) if self.alter else image
        except BadImage as error:
            raise DataError(
                f"{self.samples.name(row)} can't be evaluated: {error.reason}",
                "mend or remove it; evaluation leaves no image out by itself",
            ) from error


def count_bytes(images: int, res: Grid | None) -> int:
    """Count the bytes of so many images; 0 where nobody said which size they get."""
    return 3 * images * res.rows * res.columns if res else 0


def show(picture: Picture, look: Look, watch: Stopwatch) -> Tensor:
    """Decode what is needed of a picture and bring it to size: (3, rows, columns) uint8. Raises BadImage."""
    pixels = picture.pixels(look.least if is_large(picture) else None, look.bottom)
    watch.lap("decode")
    image = look.take(pixels)
    watch.lap("cut")
    return image


def is_large(picture: Picture) -> bool:
    """Tell whether a picture may be decoded smaller than it is."""
    return picture.rows * picture.columns >= LARGE


def read_picture(samples: Samples, index: int, max_pixels: int) -> Picture:
    """Read an image and its header. Raises BadImage, after trying a failing disk again."""
    for wait in (*WAITS, None):
        try:
            return open_picture(samples.read(index), max_pixels)
        except OSError as error:
            if wait is None or isinstance(error, HOPELESS):
                raise BadImage(f"unreadable: {error.strerror or one_line(error)}") from error
            time.sleep(wait)
    raise AssertionError("the last wait is None")


def change(batch: Batch, augmentation: Augmentation, seed: int) -> Batch:
    """Change the images of a training batch as their keys say, wherever they are."""
    keys = image_keys(seed, batch.epochs.numpy(), batch.indices.numpy())
    return batch.with_images(augmentation.change(batch.images, keys).contiguous())

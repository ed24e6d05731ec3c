"""Whether an exported file answers as the model does: on real images, before it gets its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vit_cli.data.digits import Digits
from vit_cli.data.loader import EvalBatches
from vit_cli.data.samples import Samples, subset
from vit_cli.errors import CheckpointError, DataError
from vit_cli.evaluate.images import open_folder_data, open_own_data
from vit_cli.evaluate.predict import list_images, read_images
from vit_cli.evaluate.saved import Ready
from vit_cli.section import TaskName

TOLERANCE = 1e-4
"""The largest difference of logits that is allowed, as a share of the largest logit (of 1 if that is smaller)."""
MOST, LEAST = 200, 16
WORK = 4e12
"""Images to compare, and the operations of the model that decide how many: large models are slow on a CPU."""
BATCH = 32


@dataclass(frozen=True)
class Pictures:
    """Images to compare on, uint8 (n, 3, rows, columns) of the model's resolution, and where they are from."""

    title: str
    images: Tensor

    def batches(self) -> Iterator[Tensor]:
        """Give the first alone, then the others together: a file has to take any number."""
        yield from (part for part in (self.images[:1], *self.images[1:].split(BATCH)) if len(part))


@dataclass(frozen=True)
class Parity:
    """How far two models' logits are apart on the same images.

    `difference` and `largest` are the largest difference and the largest logit; `agreement` is the share of images, in per
    cent, of which both say the same (top-1 class, or set of labels), None for numbers.
    """

    images: int
    title: str
    difference: float
    largest: float
    agreement: float | None
    runtime: str

    def allowed(self, tolerance: float) -> float:
        """Give the largest difference that holds."""
        return tolerance * max(1.0, self.largest)

    def check(self, file: Path, tolerance: float) -> None:
        """Raise CheckpointError if the logits are farther apart than allowed, or no numbers."""
        if not self.difference <= self.allowed(tolerance):
            same = (
                ""
                if self.agreement is None
                else f", the answers agree on {self.agreement:.2f} % of {self.images} images"
            )
            raise CheckpointError(
                f"{file.name} would not answer as the model does, so it was not written: logits differ by up to "
                f"{self.difference:.2g} in {self.runtime}, allowed are {self.allowed(tolerance):.2g}{same}",
                "Another version of torch or of the runtime may help; --tolerance allows more.",
            )


@torch.inference_mode()
def compare(ready: Ready, answer: Callable[[Tensor], Tensor], pictures: Pictures, runtime: str) -> Parity:
    """Compare the logits of a model, in float32, with those that `answer` gives to the same uint8 images (b, 3, h, w)."""
    difference, largest, same = 0.0, 0.0, 0
    for images in pictures.batches():
        ours, theirs = ready.model(ready.prepare(images)).double(), answer(images).double()
        apart = (ours - theirs).abs().max().item()
        difference = max(difference, apart) if apart == apart else apart  # noqa: PLR0124 - NaN, which `max` may lose
        largest = max(largest, ours.abs().max().item())
        same += count_same(ours, theirs, ready.task.name)
    count = len(pictures.images)
    agreement = None if ready.task.name == "regression" else 100 * same / count
    return Parity(count, pictures.title, difference, largest, agreement, runtime)


def count_same(ours: Tensor, theirs: Tensor, task: TaskName) -> int:
    """Count the images of which both logits (b, classes) say the same: the likeliest class, or all labels."""
    if task == "classification":
        return int((ours.argmax(1) == theirs.argmax(1)).sum())
    return int(((ours > 0) == (theirs > 0)).all(1).sum())


def choose_pictures(ready: Ready, data: Path | None) -> Pictures:
    """Choose images to compare on: of `data`, else of the model's own validation, else the digits of scikit-learn.

    They are spread over all there are; up to 200, fewer for a model of many operations. Raises DataError for a place without
    images, or whose images can't be read.
    """
    most = int(min(MOST, max(LEAST, WORK / ready.model.flops())))
    if data is not None and data.is_dir() and (paths := find_paths(data)):
        return read_pictures(ready, data, paths, most)
    if data is not None:
        return cut(ready, open_folder_data(data, None, ready.saved), str(data), most)
    if ready.data is None:
        return cut(ready, Digits().open(), "digits of scikit-learn, for the model tells no data of its own", most)
    try:
        samples = open_own_data(ready.saved)
    except DataError as error:
        return cut(ready, Digits().open(), f"digits of scikit-learn, for its own are not there ({error.problem})", most)
    return cut(ready, samples, "its validation images", most)


def find_paths(folder: Path) -> list[Path]:
    """List the images in a folder, none if there are none: parquet files, say."""
    try:
        return list_images([folder])
    except DataError:
        return []


def read_pictures(ready: Ready, folder: Path, paths: list[Path], most: int) -> Pictures:
    """Read some of the images in a folder, whatever they show. Raises DataError if none can be read."""
    unreadable: list[str] = []
    chosen = [paths[place] for place in spread(len(paths), most)]
    images = [ready.transform(image) for _, image in islice(read_images(chosen, ready.max_pixels, unreadable), most)]
    if not images:
        raise DataError(f"no image of {folder} can be read: {unreadable[0]}")
    return Pictures(str(folder), torch.stack(images))


def cut(ready: Ready, samples: Samples, title: str, most: int) -> Pictures:
    """Read some of an opened split."""
    chosen = subset(samples, spread(len(samples), most))
    batches = EvalBatches(chosen, ready.transform.look, batch_size=BATCH, max_pixels=ready.max_pixels, res=ready.res)
    return Pictures(title, torch.cat([batch.images for batch in batches]))


def spread(count: int, most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Give at most so many places, evenly over `count`."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)

"""The images that a model is looked into with: its own validation images, or any others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.data.loader import EvalBatches
from vit_cli.data.samples import Samples, subset
from vit_cli.errors import DataError
from vit_cli.evaluate.predict import read_images
from vit_cli.evaluate.saved import Ready
from vit_cli.inspect.tiles import choose_evenly

BATCH = 16
TRUE = "class"
"""What tells groups that are known."""
SHOWN = 5
"""So many images are drawn."""
FEWEST, MOST, WORK = 128, 1000, 5e11
"""ViT averages over 128 images; small models get more, up to so many floating-point operations in all."""


Groups = Sequence[str] | NDArray[np.float64] | None


@dataclass(frozen=True)
class Album:
    """Images as the model sees them (n, 3, rows, columns) in uint8, and their names.

    `groups` has the class of each, or in a regression its first target; None where nothing tells. `told_by` says what does.
    """

    images: Tensor
    names: Sequence[str]
    groups: Groups = None
    told_by: str = ""

    @property
    def is_grey(self) -> bool:
        """Tell whether all images have three equal channels."""
        return len(self.images) > 0 and bool((self.images == self.images[:, :1]).all())

    @property
    def shown(self) -> list[int]:
        """The places of the images that are drawn: of classes that are known the first one each, else evenly chosen."""
        if self.told_by == TRUE and isinstance(self.groups, list) and len(set(self.groups)) >= SHOWN:
            names = sorted(set(self.groups))
            return [self.groups.index(names[place]) for place in choose_evenly(len(names), SHOWN)]
        return choose_evenly(len(self.images), SHOWN) if len(self.images) else []


NO_IMAGES = Album(torch.empty(0, 3, 1, 1, dtype=torch.uint8), [])


def count_images(ready: Ready) -> int:
    """Choose how many images a model is measured with."""
    return int(min(MOST, max(FEWEST, WORK // ready.model.flops())))


def read_albums(readies: Sequence[Ready], source: Samples | list[Path], count: int) -> list[Album]:
    """Read up to `count` images, evenly chosen, as each model sees them; the first model tells what the classes are called.

    The classes of files are what it says of them. Raises DataError, naming the file, for a broken image.
    """
    first = readies[0]
    if isinstance(source, list):
        chosen = [source[place] for place in choose_evenly(len(source), count)]
        albums = [read_files(ready, chosen) for ready in readies]
        groups, told_by = tell_classes(first, albums[0].images) if first.class_names else (None, "")
    else:
        part = subset(source, np.array(choose_evenly(len(source), count), dtype=np.int64))
        albums = [read_samples(ready, part) for ready in readies]
        groups, told_by = name_labels(first, part)
    return [replace(album, groups=groups, told_by=told_by) for album in albums]


def read_samples(ready: Ready, samples: Samples) -> Album:
    """Read all images of a data set. Raises DataError, naming the file, for a broken one."""
    batches = EvalBatches(samples, ready.transform.look, batch_size=64, max_pixels=ready.max_pixels, res=ready.res)
    images = torch.cat([batch.images for batch in batches])
    return Album(images, [samples.name(place) for place in range(len(samples))])


def read_files(ready: Ready, paths: Sequence[Path]) -> Album:
    """Read image files. Raises DataError for a broken one."""
    broken: list[str] = []
    read = list(read_images(paths, ready.max_pixels, broken))
    if broken:
        raise DataError(broken[0], "Leave out what is no image, or mend it.")
    return Album(torch.stack([ready.transform(image) for _, image in read]), [str(path) for path, _ in read])


def name_labels(ready: Ready, samples: Samples) -> tuple[Groups, str]:
    """Give what is true of images."""
    if ready.task.name == "regression":
        return ready.task.in_units(samples.labels)[:, 0].astype(np.float64), ready.class_names[0]
    return [ready.task.say(label) for label in samples.labels], TRUE


@torch.inference_mode()
def tell_classes(ready: Ready, images: Tensor) -> tuple[Groups, str]:
    """Give what a model says of images."""
    device = next(ready.model.parameters()).device
    logits = torch.cat([ready.model(ready.prepare(part.to(device))).float() for part in images.split(BATCH)])
    said = ready.task.predict(logits, 1, 0.5)
    if ready.task.name == "regression":
        return np.array([pairs[0][1] for pairs in said]), f"{ready.class_names[0]}, as the model says"
    return [", ".join(name for name, _ in pairs) or "nothing" for pairs in said], "what the model says"

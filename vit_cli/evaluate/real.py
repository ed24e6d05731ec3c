"""ReaL: all that people see in ImageNet's validation images (Beyer et al., 2020, "Are we done with ImageNet?")."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.imagenet import CLASSES, are_imagenets
from vit_cli.data.samples import Samples
from vit_cli.errors import DataError, UsageError
from vit_cli.evaluate.evaluate import Answers

IMAGES = 50_000
FILE = re.compile(r"ILSVRC2012_val_(\d{8})\.")
SOURCE = "real.json is at https://github.com/google-research/reassessed-imagenet"


class Real(NamedTuple):
    """The classes of each image, in the order of the images' file names, and the place of each of our images there."""

    classes: tuple[frozenset[int], ...]
    places: NDArray[np.int64]


class RealScore(NamedTuple):
    """The share of answers among the classes of their images, in per cent, and the number of images that have any."""

    accuracy: float
    images: int


def open_real(path: Path, samples: Samples, class_names: Sequence[str]) -> Real:
    """Read the labels at `path` for ImageNet's 50,000 validation images, which `samples` must be.

    Raises UsageError if the model's classes are not ImageNet's or the file is another one, DataError for other images.
    """
    if not are_imagenets(class_names):
        raise UsageError(f"--real is for ImageNet's {CLASSES} classes in their order; this model has other classes")
    return Real(read_labels(path), number_images(samples))


def read_labels(path: Path) -> tuple[frozenset[int], ...]:
    """Read a list of 50,000 lists of class numbers; UsageError if the file is anything else."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise UsageError(f"--real {path} can't be read: {reason}", SOURCE) from error
    if not isinstance(content, list) or len(content) != IMAGES:
        found = f"{len(content):,} entries" if isinstance(content, list) else "no list"
        raise UsageError(f"--real {path} has {found}, expected a list of {IMAGES:,} lists of class numbers", SOURCE)
    for number, classes in enumerate(content):
        if not isinstance(classes, list) or not all(type(k) is int and 0 <= k < CLASSES for k in classes):
            raise UsageError(
                f"--real {path}: entry {number} is {str(classes)[:40]}, expected numbers from 0 to {CLASSES - 1}",
                SOURCE,
            )
    return tuple(map(frozenset, content))


def number_images(samples: Samples) -> NDArray[np.int64]:
    """Give the place of each image in the order of ImageNet's file names, from 0; DataError unless each is there once."""
    if len(samples) != IMAGES:
        raise DataError(
            f"--real is for the {IMAGES:,} validation images of ImageNet, and here are {len(samples):,}",
            "name them all: --data DIR",
        )
    places = np.empty(IMAGES, dtype=np.int64)
    for index in range(IMAGES):
        match = FILE.search(samples.key(index))
        if not match:
            raise DataError(
                f"--real needs the file names of ImageNet's validation images; {samples.name(index)} is another",
                "they are called ILSVRC2012_val_00000001.JPEG and so on",
            )
        places[index] = int(match[1]) - 1
    if not np.array_equal(np.sort(places), np.arange(IMAGES)):
        raise DataError(
            f"--real needs each of ILSVRC2012_val_00000001 to {IMAGES:08d} once; some are missing or there twice"
        )
    return places


def score_real(answers: Answers, real: Real) -> RealScore:
    """Count the answers that are among the classes of their images; images without any are left out."""
    labels = [real.classes[place] for place in real.places[answers.indices].tolist()]
    right = [said in classes for said, classes in zip(answers.predicted.tolist(), labels, strict=True) if classes]
    return RealScore(100 * sum(right) / len(right) if right else float("nan"), len(right))

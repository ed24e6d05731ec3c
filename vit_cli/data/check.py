"""Look at a data set as a whole before training on it, and say what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.bad import Bad
from vit_cli.data.cache import in_memory
from vit_cli.data.decode import MAX_PIXELS
from vit_cli.data.duplicates import Duplicates, find_duplicates
from vit_cli.data.samples import Samples, count_images
from vit_cli.data.source import Source
from vit_cli.data.split import Parting, hold_out, leave_out
from vit_cli.data.survey import Survey, look_at
from vit_cli.data.targets import open_source
from vit_cli.errors import DataError
from vit_cli.section import TaskName

HELD = "held-out"
"""What the split is called that is held out of the training images."""
EDGES = (16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
"""Where the bars of the histogram of short sides begin, in pixels."""
FEW = 256
"""So many images are looked at before workers would have started."""
MOST_WORKERS = 64


@dataclass(frozen=True)
class Picture:
    """A picture with its size."""

    path: str
    rows: int
    columns: int


@dataclass(frozen=True)
class Sizes:
    """How large the pictures are, upright; `short_sides` counts them by the pixels of their short side."""

    smallest: Picture
    largest: Picture
    short_side_median: float
    short_sides: dict[str, int]
    mean_pixels: float


@dataclass(frozen=True)
class Range:
    """What numbers a target takes."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split; `looked_at` of its `images` were read, of which `broken` could not be.

    `classes` counts images of each class or with each label, in their order; `targets` are there for regression alone.
    """

    name: str
    source: str
    images: int
    looked_at: int
    broken: int
    broken_kinds: dict[str, int]
    broken_images: list[Bad]
    classes: dict[str, int]
    targets: dict[str, Range]
    formats: dict[str, int]
    sizes: Sizes | None


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: its kind in a word, what it is, how often, and some of the images or classes."""

    kind: Literal["unreadable", "classes", "targets", "shared", "conflicting"]
    text: str
    count: int
    examples: list[str]


@dataclass(frozen=True)
class Report:
    """What was found: facts of each split, the same picture more than once, and how fast pictures are read.

    `images_per_second` is of one process that reads and decodes whole pictures; `decoded_bytes` what all of them take.
    """

    task: TaskName
    splits: list[SplitReport]
    duplicates: Duplicates
    images_per_second: float
    decoded_bytes: int
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Looking:
    """How to look: with how many processes (None: as suits), at how many images of a split (None: all)."""

    workers: int | None = None
    sample: int | None = None
    max_pixels: int = MAX_PIXELS
    told: Callable[[int, int], None] = lambda _done, _total: None
    """Hears how many images are done, of how many."""


def open_parts(train: Source, val: Source | None, parting: Parting, task: TaskName) -> dict[str, tuple[str, Samples]]:
    """Open the splits, each with its title: validation has a source of its own, or `parting` holds a part of training out.

    Raises DataError if a source can't be opened or holds no image. Unlike training, classes may differ.
    """
    images = open_source(train, task)
    if val is not None:
        kept = leave_out(images, parting.fraction)
        parts = {"train": (train.title, kept), "val": (val.title, open_source(val, task))}
    else:
        kept, held = hold_out(images, parting.share, fold=parting.fold).split(images)
        kept = leave_out(kept, parting.fraction, parting.fold)
        parts = {"train": (train.title, kept)} | ({HELD: (train.title, held)} if len(held) else {})
    for title, samples in parts.values():
        if not len(samples):
            raise DataError(f"{title} holds no image")
    return parts


def check_data(parts: Mapping[str, tuple[str, Samples]], task: TaskName, looking: Looking = Looking()) -> Report:
    """Read and decode every image of the splits, or a sample that is spread evenly over each, and gather what is found."""
    places = {name: choose_places(len(samples), looking.sample) for name, (_, samples) in parts.items()}
    total, done = sum(map(len, places.values())), 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        looking.told(done, total)

    surveys = []
    for name, (_, samples) in parts.items():
        workers = choose_workers(samples, len(places[name])) if looking.workers is None else looking.workers
        surveys.append(look_at(name, samples, places[name], workers=workers, max_pixels=looking.max_pixels, told=told))
    splits = [describe_split(survey, title, task) for survey, (title, _) in zip(surveys, parts.values(), strict=True)]
    read = sum(int(survey.is_read.sum()) for survey in surveys)
    return Report(
        task,
        splits,
        find_duplicates(surveys),
        images_per_second=read / max(sum(survey.seconds for survey in surveys), 1e-9),
        decoded_bytes=sum(3 * int(split.sizes.mean_pixels * split.images) for split in splits if split.sizes),
    )


def choose_places(images: int, sample: int | None) -> NDArray[np.int64]:
    """Choose the images to look at: all, or so many that are spread evenly."""
    if sample is None or sample >= images:
        return np.arange(images)
    return np.linspace(0, images - 1, sample).round().astype(np.int64)


def choose_workers(samples: Samples, images: int) -> int:
    """Choose how many processes read: one on every core, none for a few images or for pixels that need no decoding."""
    return 0 if images <= FEW or in_memory(samples) else min(os.cpu_count() or 1, MOST_WORKERS)


def describe_split(survey: Survey, title: str, task: TaskName) -> SplitReport:
    """Gather the facts of one split."""
    samples = survey.samples
    counts = dict(zip(samples.classes, count_images(samples), strict=True)) if task != "regression" else {}
    return SplitReport(
        name=survey.name,
        source=title,
        images=len(samples),
        looked_at=len(survey.places),
        broken=sum(survey.reasons.values()),
        broken_kinds=dict(survey.reasons.most_common()),
        broken_images=survey.bad,
        classes=counts,
        targets=describe_targets(samples) if task == "regression" else {},
        formats=dict(survey.kinds.most_common()),
        sizes=describe_sizes(survey),
    )


def describe_targets(samples: Samples) -> dict[str, Range]:
    """Tell what numbers each target takes."""
    columns = zip(samples.classes, samples.labels.T, strict=True)
    return {name: Range(float(values.min()), float(values.mean()), float(values.max())) for name, values in columns}


def describe_sizes(survey: Survey) -> Sizes | None:
    """Tell how large the pictures are; None if none could be read."""
    readable = np.flatnonzero(survey.is_read)
    if not len(readable):
        return None
    rows, columns = survey.rows[readable], survey.columns[readable]
    pixels, short = rows.astype(np.int64) * columns, np.minimum(rows, columns)

    def name(at: np.intp) -> Picture:
        place = int(survey.places[readable[at]])
        return Picture(survey.samples.name(place), int(rows[at]), int(columns[at]))

    return Sizes(
        smallest=name(pixels.argmin()),
        largest=name(pixels.argmax()),
        short_side_median=float(np.median(short)),
        short_sides=count_sides(short),
        mean_pixels=float(pixels.mean()),
    )


def count_sides(short: NDArray[np.int32]) -> dict[str, int]:
    """Count short sides between EDGES, without the empty ranges at both ends: {"256-383": 12}."""
    names = [f"<{EDGES[0]}", *(f"{low}-{high - 1}" for low, high in pairwise(EDGES))]
    names.append(f">={EDGES[-1]}")
    counts = np.bincount(np.searchsorted(EDGES, short, side="right"), minlength=len(names))
    filled = np.flatnonzero(counts)
    return {names[at]: int(counts[at]) for at in range(filled[0], filled[-1] + 1)}

"""What to do when training waits for images: the one change that would help most, from the seconds that were measured."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.batch import Stages
from vit_cli.data.cache import free_memory, free_shared_memory
from vit_cli.data.loader import LARGE
from vit_cli.data.survey import probe_sizes
from vit_cli.data.workers import MOST

if TYPE_CHECKING:
    from vit_cli.train.wire import Run

MUCH_WAITING = 0.2
"""The share of waiting from which on something is said."""
FEW_STEPS = 20
"""Fewer steps tell nothing."""
LEAST_GAIN = 1.1
"""A change that makes steps less than so many times as fast is not worth a line."""
CROP_SHARE = 0.73
"""The side of the mean random resized crop as a share of the picture's short side: 0.54 of its area."""
SPARE = 0.8
"""The share of the free memory that a cache may fill: it is an estimate, and batches need some too."""
DOING = {"read": "reading", "decode": "decoding", "cut": "cropping and resizing", "change": "augmenting"}


class Interval(NamedTuple):
    """Some steps: how long they took, how long of it training waited for images, and what making these took by stage."""

    steps: int
    seconds: float
    waited: float
    stages: Stages


class Reading(NamedTuple):
    """How a process of a run comes by its images, and what it could have instead.

    `workers` read for it, and its share of the cores would do for `most_workers`. `cache` is the change that keeps all
    images in memory, "" if they are there or do not fit; `gpu_is_unused` says that augmentation could run on a GPU, and
    does not. `short_side` is the median one of the pictures in pixels, 0 if they need no decoding; `res` the longer side
    of what the model takes; `is_packed` says that the pictures are not files of their own.
    """

    workers: int
    most_workers: int
    cache: str
    gpu_is_unused: bool
    short_side: float
    res: int
    is_packed: bool


class Remedy(NamedTuple):
    """A change, with the workers there are then, and the seconds that a batch takes one of them."""

    text: str
    workers: int
    seconds: float


def find_advice(run: Run, took: Interval) -> str:
    """Say once in a run what to do about waiting, if an interval shows much of it; "" otherwise."""
    if not run.world.is_first or run.clock.is_advised or not is_slow(took):
        return ""
    run.clock.is_advised = True
    return advise(took, describe_reading(run))


def is_slow(took: Interval) -> bool:
    """Tell whether training waited for images that took time to make, for long enough to say something."""
    return took.steps >= FEW_STEPS and took.waited > MUCH_WAITING * took.seconds and sum(took.stages) > 0


def describe_reading(run: Run) -> Reading:
    """Gather how a run comes by its images; reads the headers of a few."""
    data, samples = run.recipe.data, run.input.by_hand.samples
    sizes = probe_sizes(samples, data.max_pixels)
    side = pack_side(max(run.about["res"]))
    return Reading(
        workers=run.input.workers,
        most_workers=0 if run.input.is_resident else min(MOST, (os.cpu_count() or 1) // run.world.size - 1),
        cache=choose_cache(sizes, side, len(samples), run.world.size) if data.cache in ("auto", "none") else "",
        gpu_is_unused=run.world.device.type == "cuda" and data.augment_on == "workers",
        short_side=float(np.median(sizes.min(axis=1))) if len(sizes) else 0.0,
        res=max(run.about["res"]),
        is_packed=data.train.name not in ("folder", "table", "torchvision"),
    )


def choose_cache(sizes: NDArray[Any], side: int, images: int, processes: int) -> str:
    """Give the change by which so many images fit into memory, large ones reduced to a short `side`; "" if none does.

    `sizes` (k, 2) are those of some of them. `processes` on this machine share the memory.
    """
    if not len(sizes):
        return ""
    room = SPARE * min(free_memory(), free_shared_memory()) / processes
    pixels = sizes.prod(axis=1)
    if (pixels < LARGE).all() and 3 * images * pixels.mean() <= room:
        return "data.cache=ram"
    reduced = pixels * np.minimum(1.0, side / sizes.min(axis=1)) ** 2
    return f"data.cache=ram data.cache_size={side}" if 3 * images * reduced.mean() <= room else ""


def advise(took: Interval, reading: Reading) -> str:
    """Say in one line what takes the time and which change would help most; "" if there is nothing to say."""
    if not is_slow(took):
        return ""
    each = Stages(*(seconds / took.steps for seconds in took.stages))
    stage, longest = max(each._asdict().items(), key=lambda item: item[1])
    where = "in a worker" if reading.workers else "where it trains"
    measured = (
        f"Training waits for images {took.waited / took.seconds:.0%} of the time. Making a batch takes "
        f"{format_duration(sum(each))} {where}, {longest / sum(each):.0%} of it {DOING[stage]}"
    )
    best = min(find_remedies(each, reading), key=lambda remedy: predict(took, reading, remedy), default=None)
    if best is None or took.seconds / took.steps < LEAST_GAIN * predict(took, reading, best):
        return f"{measured}. No setting would help much: fewer or cheaper items in augment would, and more cores."
    return f"{measured}. What helps most: {best.text}"


def predict(took: Interval, reading: Reading, remedy: Remedy) -> float:
    """Give the seconds of a step with a change: batches are made beside training by workers, or else between the steps.

    What was measured tells how long a batch really keeps training waiting, with all that no stage shows.
    """
    step, training = took.seconds / took.steps, (took.seconds - took.waited) / took.steps
    shown = remedy.seconds / (sum(took.stages) / took.steps)
    if reading.workers:
        return max(training, shown * step * reading.workers / remedy.workers)
    making = shown * (step - training)
    return max(training, making / remedy.workers) if remedy.workers else training + making


def find_remedies(each: Stages, reading: Reading) -> Iterator[Remedy]:
    """Give the changes that are not in use yet, those that cost least first; `each` are the seconds of one batch."""
    making = sum(each)
    if reading.most_workers > reading.workers:
        text = f"data.workers={reading.most_workers} (now {reading.workers}), for the cores that are idle."
        yield Remedy(text, reading.most_workers, making)
    if reading.gpu_is_unused:
        text = "data.augment_on=device, which leaves that to the GPU."
        yield Remedy(text, reading.workers, making - each.change)
    if reading.cache:
        text = f"{reading.cache}, which keeps all images in memory, decoded."
        yield Remedy(text, reading.workers, making - (each.read + each.decode))
    side = pack_side(reading.res)
    kept = (side / reading.short_side) ** 2 if reading.short_side > side else 1.0
    if kept < 1:
        text = f"vit data pack SRC DEST --short-side {side}, which leaves {kept:.0%} of the pixels to decode."
        yield Remedy(text, reading.workers, making - (1 - kept) * (each.read + each.decode))
    elif not reading.is_packed and reading.short_side:
        text = "vit data pack SRC DEST, which puts the files side by side."
        yield Remedy(text, reading.workers, making - each.read)


def pack_side(res: int) -> int:
    """Give the short side for a pack from which the mean random crop is not enlarged: a multiple of 32."""
    return 32 * math.ceil(res / CROP_SHARE / 32)


def format_duration(seconds: float) -> str:
    """Write how long a batch takes: 1.8 s, 42 ms."""
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.2g} ms"

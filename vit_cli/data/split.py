"""Part images: some are held out for validation, once and for all, and of the others some may be left away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.samples import Samples, View, subset
from vit_cli.data.shards import ShardSamples
from vit_cli.keys import count_on, derive, hash63

EVERY = "*"
"""Stands for the class of an image where images have no class, but labels or targets."""
LAST = 2**63 - 1
Thresholds = Mapping[str, int | Sequence[int]]
"""Of a class, the hashed keys that are held out: those below a number, or from one number to below another."""


class Parting(NamedTuple):
    """Which images are for what: `share` of them is held out, the `fold`-th such part; `fraction` of the rest is trained on."""

    share: float
    fold: int = 0
    fraction: float = 1.0


@dataclass(frozen=True)
class HeldOut:
    """Which images are held out: those of a class whose hashed key is below the class's threshold, or between two.

    Images without classes are all of one. So whether an image is held out depends on its key and class alone: not on the
    run's seed, and not on images that come or go later. It travels in checkpoints as plain values. A class without a
    threshold is trained on.
    """

    share: float
    thresholds: Thresholds

    def split(self, samples: Samples) -> tuple[Samples, Samples]:
        """Give the images to train on and those held out, each in the order of `samples`."""
        names, numbers = groups(samples)
        spans = [self.thresholds.get(name, 0) for name in names]
        bounds = np.array([(0, span) if isinstance(span, int) else span for span in spans], dtype=np.int64)
        keys, (floors, limits) = hashes(samples), bounds.T
        held = (keys >= floors[numbers]) & (keys < limits[numbers])
        return subset(samples, np.flatnonzero(~held)), subset(samples, np.flatnonzero(held))


def hold_out(samples: Samples, share: float, known: Thresholds | None = None, fold: int = 0) -> HeldOut:
    """Choose thresholds that hold out `share` of each class, rounded: at least one image, and never all of them.

    Each `fold` holds out other images, so that five folds of a fifth hold out every image once; of classes with fewer
    images than folds, the later folds may hold out none. Thresholds that are `known` stay. A class with a single image
    keeps it for training. Takes about 2 s for a million images.
    """
    names, numbers = groups(samples)
    thresholds: dict[str, int | Sequence[int]] = dict(known or {})
    if thresholds.keys() >= set(names):
        return HeldOut(share, thresholds)
    keys = hashes(samples)
    order = np.lexsort((keys, numbers))  # by class, then by key
    ends = np.cumsum(np.bincount(numbers, minlength=len(names)))
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        edges = [find_edge(int(end - start), share, number) for number in (fold, fold + 1)]
        limits = [int(keys[order[start + edge]]) if start + edge < end else LAST for edge in edges]
        floor, limit = (0 if edge == 0 else limit for edge, limit in zip(edges, limits, strict=True))
        thresholds.setdefault(name, [floor, limit] if fold else limit)
    return HeldOut(share, thresholds)


def find_edge(count: int, share: float, fold: int) -> int:
    """Count the images of a class that the folds before `fold` hold out, of `count` images."""
    if fold == 0 or count < 2 or share == 0:
        return 0
    return min(max(1, int(fold * share * count + 0.5)), count - (fold == 1))


def leave_out(samples: Samples, fraction: float, fold: int = 0) -> Samples:
    """Give `fraction` of the images of each class, rounded, at least one; a smaller fraction gives some of the same.

    Which ones depends on their keys, their class, the images that there are and the `fold`, not on the run's seed.
    """
    if fraction == 1:
        return samples
    _, numbers = groups(samples)
    mixed = count_on(hashes(samples).astype(np.uint64), derive("fraction", fold))
    order = np.lexsort((mixed, numbers))
    counts = np.bincount(numbers)
    places = np.empty(len(samples), dtype=np.int64)
    places[order] = np.arange(len(samples)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.maximum((fraction * counts + 0.5).astype(np.int64), 1)
    return subset(samples, np.flatnonzero(places < kept[numbers]))


def groups(samples: Samples) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Give the names of what images are held out of, and the number of each image's own (n,)."""
    if samples.labels.ndim == 1:
        return samples.classes, samples.labels
    return (EVERY,), np.zeros(len(samples), dtype=np.int64)


def hashes(samples: Samples) -> NDArray[np.int64]:
    """Hash the key of every image: (n,), 63 bits each. The index of shards has them."""
    if isinstance(samples, ShardSamples):
        return samples.key_hashes
    if isinstance(samples, View) and isinstance(samples.base, ShardSamples):
        return hashes(samples.base)[samples.rows]
    return np.fromiter((hash63(samples.key(index)) for index in range(len(samples))), np.int64, len(samples))

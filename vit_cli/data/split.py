"""Hold a part of the training images out for validation, once and for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.samples import Samples, View, subset
from vit_cli.data.shards import ShardSamples
from vit_cli.keys import hash63

EVERY = "*"
"""Stands for the class of an image where images have no class, but labels or targets."""


@dataclass(frozen=True)
class HeldOut:
    """Which images are held out: those of a class whose hashed key is below the class's threshold.

    Images without classes are all of one. So whether an image is held out depends on its key and class alone: not on the
    run's seed, and not on images that come or go later. It travels in checkpoints as plain values. A class without a
    threshold is trained on.
    """

    share: float
    thresholds: Mapping[str, int]

    def split(self, samples: Samples) -> tuple[Samples, Samples]:
        """Give the images to train on and those held out, each in the order of `samples`."""
        names, numbers = groups(samples)
        limits = np.array([self.thresholds.get(name, 0) for name in names], dtype=np.int64)
        held = hashes(samples) < limits[numbers]
        return subset(samples, np.flatnonzero(~held)), subset(samples, np.flatnonzero(held))


def hold_out(samples: Samples, share: float, known: Mapping[str, int] | None = None) -> HeldOut:
    """Choose thresholds that hold out `share` of each class, rounded: at least one image, and never all of them.

    Those that are `known` stay. A class with a single image keeps it for training. Takes about 2 s for a million images.
    """
    names, numbers = groups(samples)
    thresholds = dict(known or {})
    if thresholds.keys() >= set(names):
        return HeldOut(share, thresholds)
    keys = hashes(samples)
    order = np.lexsort((keys, numbers))  # by class, then by key
    ends = np.cumsum(np.bincount(numbers, minlength=len(names)))
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        count = int(end - start)
        held = min(max(1, int(share * count + 0.5)), count - 1) if count else 0
        chosen = int(keys[order[start + held]]) if held > 0 and share > 0 else 0
        thresholds.setdefault(name, chosen)
    return HeldOut(share, thresholds)


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

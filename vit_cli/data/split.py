"""Hold a part of the training images out for validation, once and for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.keys import hash63
from vit_cli.data.samples import Samples, subset


@dataclass(frozen=True)
class HeldOut:
    """Which images are held out: those of a class whose hashed key is below the class's threshold.

    So whether an image is held out depends on its key and class alone: not on the run's seed, and not on images that
    come or go later. It travels in checkpoints as plain values. A class without a threshold is trained on.
    """

    share: float
    thresholds: Mapping[str, int]

    def split(self, samples: Samples) -> tuple[Samples, Samples]:
        """Give the images to train on and those held out, each in the order of `samples`."""
        limits = np.array([self.thresholds.get(name, 0) for name in samples.classes], dtype=np.int64)
        held = hashes(samples) < limits[samples.labels]
        return subset(samples, np.flatnonzero(~held)), subset(samples, np.flatnonzero(held))


def hold_out(samples: Samples, share: float, known: Mapping[str, int] | None = None) -> HeldOut:
    """Choose thresholds that hold out `share` of each class, rounded: at least one image, and never all of them.

    Those that are `known` stay. A class with a single image keeps it for training. Takes about 2 s for a million images.
    """
    thresholds = dict(known or {})
    if thresholds.keys() >= set(samples.classes):
        return HeldOut(share, thresholds)
    keys = hashes(samples)
    order = np.lexsort((keys, samples.labels))  # by class, then by key
    ends = np.cumsum(np.bincount(samples.labels, minlength=len(samples.classes)))
    for name, start, end in zip(samples.classes, [0, *ends[:-1]], ends, strict=True):
        count = int(end - start)
        held = min(max(1, int(share * count + 0.5)), count - 1) if count else 0
        chosen = int(keys[order[start + held]]) if held > 0 and share > 0 else 0
        thresholds.setdefault(name, chosen)
    return HeldOut(share, thresholds)


def hashes(samples: Samples) -> NDArray[np.int64]:
    """Hash the key of every image: (n,), 63 bits each."""
    return np.fromiter((hash63(samples.key(index)) for index in range(len(samples))), np.int64, len(samples))

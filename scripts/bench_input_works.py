"""The rows of scripts/bench_input.py: what is done to which images, what is measured of it, and the floors of the ratios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WARM_UP = 4
FEEDERS = 2
"""Loader workers where both cores are to feed; elsewhere one, and in training on CIFAR-10 what `auto` makes of it for us."""
UNITS = {"worker": "img/s per core", "wall": "img/s", "train": "img/s"}


@dataclass(frozen=True)
class Work:
    """One row. `measures` is images per second of a worker's processor time, as they arrive, or of training steps.

    `policy` adds RandAugment and erasing to the random resized crop and the flip; `judged` is the evaluation's
    transform instead.
    """

    name: str
    floor: float
    measures: Literal["worker", "wall", "train"] = "worker"
    source: Literal["photos", "large", "pack", "cifar"] = "photos"
    augment_on: Literal["auto", "workers", "device"] = "workers"
    policy: bool = False
    judged: bool = False
    res: int = 224
    batch: int = 32
    precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def unit(self) -> str:
        """Say what is counted."""
        return UNITS[self.measures]


WORKS = (
    Work("crop_flip", 1.7),
    Work("crop_flip_randaugment", 1.4, policy=True),
    Work("device_augment", 1.9, policy=True, augment_on="device"),
    Work("pack_256", 3.0, source="pack"),
    Work("evaluation", 2.0, judged=True),
    Work("large_photos", 4.0, source="large", batch=8),
    Work("cifar_feed", 8.0, "wall", "cifar", augment_on="auto", policy=True, res=32, batch=128),
    Work("cifar_train", 1.1, "train", "cifar", augment_on="auto", policy=True, res=32, batch=128, precision="bf16"),
)
INFORMS = Work("cifar_train_fp32", 0.0, "train", "cifar", augment_on="auto", policy=True, res=32, batch=128)
"""A row without a floor: the last one in float32."""


@dataclass(frozen=True)
class Extent:
    """How much is measured: rounds of two arms, batches of each, training steps, photos of 12 megapixels."""

    rounds: int
    batches: int
    steps: int
    large: int

    def batches_of(self, work: Work) -> int:
        """Give how many batches to time: large photos are few, thumbnails many, in whole blocks of 2,048, as we make them."""
        return {"large": self.batches // 6, "cifar": 64 * max(2, self.batches // 12)}.get(work.source, self.batches)


FULL, QUICK = Extent(3, 60, 60, 36), Extent(1, 14, 5, 12)


@dataclass(frozen=True)
class Place:
    """Where the images lie: below `root`, and CIFAR-10 in `cifar`."""

    root: Path
    cifar: Path

    @property
    def photos(self) -> Path:
        """The photos as they are: `train` and `val`."""
        return self.root / "photos"

    @property
    def large(self) -> Path:
        """The photos of 12 megapixels: `train`."""
        return self.root / "large"

    @property
    def pack(self) -> Path:
        """The photos of `train`, packed."""
        return self.root / "pack"

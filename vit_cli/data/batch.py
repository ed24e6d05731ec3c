"""What is handed to the training loop and to evaluation: images, labels, and what became of them on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vit_cli.data.bad import Bad
from vit_cli.data.encoded import Encoded
from vit_cli.data.order import Draws
from vit_cli.data.samples import Samples


class Stages(NamedTuple):
    """The seconds that the making of a batch took where it was made: reading files, decoding, bringing to size, changing."""

    read: float = 0.0
    decode: float = 0.0
    cut: float = 0.0
    change: float = 0.0


NOTHING_TOOK_TIME = Stages()


class Stopwatch:
    """Adds up the seconds of each stage: a lap counts for the stage that just ended."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(Stages._fields, 0.0)
        self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap for `stage`."""
        now = time.perf_counter()
        self.seconds[stage] += now - self.last
        self.last = now

    def stages(self) -> Stages:
        """Give the sums."""
        return Stages(**self.seconds)


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (b, 3, H, W) uint8 and labels (b,) int64; for training also what was drawn, and which images were broken.

    `indices` and `epochs` are (b,) int64 on the CPU: the draw of each position, also where its image was replaced. Some
    images may still be `encoded`, and lack in `images`.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    epochs: Tensor
    bad: tuple[Bad, ...] = ()
    seconds: Stages = NOTHING_TOOK_TIME
    encoded: Encoded | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        """Let all but the images travel by value: for a tensor in shared memory, processes shake hands."""
        return {key: v.numpy() if isinstance(v, Tensor) and key != "images" else v for key, v in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({key: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for key, v in state.items()})

    def share(self) -> None:
        """Bring images, encoded or not, into memory that processes share. Raises RuntimeError if there is too little."""
        self.images.share_memory_()
        if self.encoded:
            self.encoded.content.share_memory_()

    def to(self, device: torch.device) -> Batch:
        """Move images and labels, without waiting for it if they are pinned."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """Move images and labels into memory that a GPU can fetch from by itself (called by DataLoader), if not there yet."""
        if self.images.is_cuda:
            return self
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())

    def own(self) -> Batch:
        """Copy a batch out of the memory that it came in from a worker, of which a process can hold few pieces."""
        copy = replace(
            self,
            images=self.images.clone(),
            labels=self.labels.clone(),
            indices=self.indices.clone(),
            epochs=self.epochs.clone(),
        )
        return copy.pin_memory() if self.images.is_pinned() else copy

    def with_images(self, images: Tensor) -> Batch:
        """Give the same batch with other images."""
        return replace(self, images=images)

    def timed(self, seconds: Stages) -> Batch:
        """Give the same batch with the seconds that it took."""
        return replace(self, seconds=seconds)


def assemble(
    samples: Samples,
    images: Sequence[Tensor],
    rows: Sequence[int],
    draws: Draws,
    bad: Sequence[Bad] = (),
) -> Batch:
    """Put images together; `rows` are those shown, which differ from those drawn where one was broken."""
    labels = torch.from_numpy(samples.labels[np.asarray(rows, dtype=np.int64)])
    return Batch(
        stack(images)[: len(rows)], labels, torch.from_numpy(draws.indices), torch.from_numpy(draws.epochs), tuple(bad)
    )


def stack(images: Sequence[Tensor]) -> Tensor:
    """Copy images (3, h, w) uint8 of any memory layout into one (b, 3, h, w), on a CPU, with the colours in planes."""
    planes = torch.empty(len(images), *(images[0].shape if images else (3, 0, 0)), dtype=torch.uint8)
    for into, image in zip(planes.numpy(), images, strict=True):
        into[...] = image.numpy()  # takes colours apart in half of torch's time
    return planes

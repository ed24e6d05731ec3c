"""Memory in which batches come from workers, used again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from vit_cli.data.batch import Batch


class Slots:
    """Shared memory for the images of `count` batches, of `size` bytes each at most, on their way to the main process.

    That process alone says where a batch goes, and says it again only after it has copied out what came there. Fresh memory
    for every batch would be filled page by page, which costs a worker more time than anything but decoding and resizing.
    Raises RuntimeError if there is too little.
    """

    def __init__(self, count: int, size: int) -> None:
        memory = torch.UntypedStorage._new_shared(count * size)
        self.room = torch.tensor([], dtype=torch.uint8).set_(memory).view(count, size)
        self.free = list(range(count))
        self.taken = deque[int]()

    def assign(self, numbers: Iterable[Any]) -> Iterator[tuple[Any, int]]:
        """Give every number with the slot for its batch, which must be free by the time that it is asked for."""
        for number in numbers:
            self.taken.append(self.free.pop())
            yield number, self.taken[-1]

    def fill(self, slot: int, batch: Batch) -> Batch:
        """Put the images of a batch into a slot; called by the worker that made it."""
        room = self.room[slot, : batch.images.numel()].view(batch.images.shape)
        return batch.with_images(room.copy_(batch.images))

    def empty(self, batch: Batch) -> Batch:
        """Give a batch memory of its own, unless it was pinned since, and free its slot; they come in the order of `assign`."""
        own = batch if batch.images.is_pinned() else batch.with_images(batch.images.clone())
        self.free.append(self.taken.popleft())
        return own

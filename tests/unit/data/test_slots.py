"""Memory that is used again never takes a batch away from whom it was given to."""

from __future__ import annotations

import torch

from vit_cli.data.batch import Batch
from vit_cli.data.slots import Slots


def make_batch(images: int, value: int) -> Batch:
    numbers = torch.arange(images)
    return Batch(torch.full((images, 3, 4, 5), value, dtype=torch.uint8), numbers, numbers, numbers)


def test_a_slot_is_given_again_and_the_batch_that_was_in_it_stays() -> None:
    slots = Slots(3, make_batch(2, 0).images.nbytes)
    tasks = slots.assign(range(20))
    sent: list[Batch] = []
    received: list[Batch] = []
    for number, slot in tasks:  # as workers do that are two batches ahead; the last batch of an epoch is short
        sent.append(slots.fill(slot, make_batch(2 - number // 19, number)))
        if len(sent) == 3:
            received.append(slots.empty(sent.pop(0)))
    received += [slots.empty(batch) for batch in sent]
    assert [batch.images.unique().tolist() for batch in received] == [[number] for number in range(20)]
    assert [len(batch.images) for batch in received] == [2] * 19 + [1]


def test_what_a_worker_fills_is_what_the_main_process_sees() -> None:
    slots = Slots(1, make_batch(2, 0).images.nbytes)
    _, slot = next(slots.assign([0]))
    assert slots.room.is_shared()
    assert slots.fill(slot, make_batch(2, 7)).images.untyped_storage().data_ptr() == slots.room.data_ptr()

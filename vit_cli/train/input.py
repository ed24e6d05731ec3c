"""The input path of a run: batches to train on and batches to judge by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch

from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.augment.transforms import PhasedAugmentation, build_augmentation
from vit_cli.data.ahead import Patience
from vit_cli.data.batch import Batch
from vit_cli.data.cache import cached
from vit_cli.data.encoded import decode_ahead, decode_batch
from vit_cli.data.loader import EvalBatches, TrainBatches, change
from vit_cli.data.open import Splits
from vit_cli.data.order import Order
from vit_cli.data.remember import RememberedBatches
from vit_cli.data.resident import Resident, ResidentBatches, find_resident
from vit_cli.data.samples import Samples
from vit_cli.data.workers import choose_workers
from vit_cli.dist.world import World
from vit_cli.errors import DataError, UsageError
from vit_cli.recipe.plan import Plan
from vit_cli.recipe.schema import Data, Recipe
from vit_cli.section import as_grid


@dataclass(frozen=True)
class Input:
    """This process's part of every batch; `order` says which images make up the global batch of a step.

    `finish` is what is left to do to a batch that is on its device; `by_hand` makes single batches in this process.
    """

    order: Order
    judged: Iterable[Batch]
    train: Callable[[range], Iterable[Batch]]
    finish: Callable[[Batch], Batch]
    by_hand: TrainBatches
    total_steps: int
    workers: int
    is_resident: bool

    def batches(self, first: int) -> Iterable[Batch]:
        """Give the batches from step `first` to the end of the run, each still to be finished on its device."""
        return self.train(range(first, self.total_steps))

    def first_batch(self) -> Batch:
        """Make the first batch of the run anew, in this process; it is still to be finished."""
        return self.by_hand.make(0)


class Stock(NamedTuple):
    """The training images as they are kept, and those of them that need no workers, if that is all."""

    samples: Samples
    resident: Resident | None


def lay_in(recipe: Recipe, splits: Splits, world: World) -> Stock:
    """Keep training images in memory, here or on the GPU, as `recipe` asks; nothing else is read yet."""
    data = recipe.data
    if data.decode == "gpu" and world.device.type != "cuda":
        raise UsageError("data.decode: gpu needs a CUDA device, and this run is on the CPU", "set data.decode=cpu")
    samples = cached(splits.train, data.cache, data.max_pixels, world.size, data.cache_size)
    return Stock(samples, choose_resident(samples, data, world.device))


def make_input(recipe: Recipe, splits: Splits, stock: Stock, plan: Plan, preprocess: Preprocess, world: World) -> Input:
    """Prepare to read what `splits` hold, as `recipe` and `plan` ask."""
    data, res = recipe.data, as_grid(recipe.model.res)
    samples, resident = stock
    workers = choose_workers(os.cpu_count() or 1, world.size) if data.workers == "auto" else data.workers
    if resident and (data.workers == "auto" or resident.pixels.is_cuda):
        workers = 0
    on_device = data.augment_on == "device" or (data.augment_on == "auto" and world.device.type == "cuda")
    order = Order(len(samples), recipe.seed, plan.batch_size, data.repeats)
    augmentation = PhasedAugmentation(
        tuple(
            (phase.until_step, build_augmentation(recipe.augment, as_grid(phase.res), preprocess))
            for phase in plan.phases
        )
    )
    here: dict[str, Any] = {"rank": world.rank, "size": world.size, "patience": Patience(data.timeout, world.watch.say)}

    def read(steps: range, workers: int, *, decodes: bool = True) -> TrainBatches:
        made = here | {"workers": workers, "max_pixels": data.max_pixels, "changes": not on_device}
        return TrainBatches(samples, order, augmentation, steps=steps, decodes=decodes, res=res, **made)

    by_hand = read(range(1), 0)

    def train(steps: range) -> Iterable[Batch]:
        if resident is None and data.decode == "gpu":
            encoded = read(steps, workers, decodes=False)
            return decode_ahead(encoded, partial(decode_batch, device=world.device, res=res, make=by_hand.make_of))
        if resident is None:
            return read(steps, workers)
        made = here | {"workers": workers, "changes": not on_device}
        return ResidentBatches(samples, resident, order, augmentation, res=res, steps=steps, **made)

    judged = EvalBatches(
        splits.val,
        build_eval_transform(preprocess, res).look,
        batch_size=recipe.eval.batch_size or plan.micro_batch,
        workers=workers,
        max_pixels=data.max_pixels,
        res=res,
        **here,
    )
    return Input(
        order,
        RememberedBatches(judged),
        train,
        partial(change, augmentation=augmentation.at(0), seed=recipe.seed) if on_device else as_it_is,
        by_hand,
        plan.total_steps,
        workers,
        is_resident=resident is not None,
    )


def choose_resident(samples: Samples, data: Data, device: torch.device) -> Resident | None:
    """Give the images that need no workers, on the GPU if they shall be there; None where workers shall bring them.

    Raises DataError if images shall be kept on the device that can't be, since they have different sizes.
    """
    if data.cache == "device":
        resident = find_resident(samples, most_pixels=data.max_pixels)
        if resident is None:
            raise DataError("data.cache: device needs images that all have one size", "set data.cache to ram or auto")
        return resident.to(device)
    return find_resident(samples)


def as_it_is(batch: Batch) -> Batch:
    """Leave a batch as the workers made it."""
    return batch

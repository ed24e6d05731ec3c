"""The input path of a run: batches to train on and batches to judge by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.augment.transforms import build_train_transform
from vit_cli.data.ahead import Patience
from vit_cli.data.cache import RememberedBatches, cached
from vit_cli.data.loader import Batch, EvalBatches, TrainBatches
from vit_cli.data.open import Splits
from vit_cli.data.order import Order
from vit_cli.data.workers import choose_workers
from vit_cli.dist.world import World
from vit_cli.recipe.plan import Plan
from vit_cli.recipe.schema import Recipe
from vit_cli.section import as_grid


@dataclass(frozen=True)
class Input:
    """This process's part of every batch; `order` says which images make up the global batch of a step."""

    order: Order
    judged: Iterable[Batch]
    train: Callable[[range, int], TrainBatches]
    total_steps: int
    workers: int

    def batches(self, first: int) -> Iterable[Batch]:
        """Give the batches from step `first` to the end of the run."""
        return self.train(range(first, self.total_steps), self.workers)

    def first_batch(self) -> Batch:
        """Make the first batch of the run anew, in this process."""
        return self.train(range(1), 0).make(0)


def make_input(recipe: Recipe, splits: Splits, plan: Plan, preprocess: Preprocess, world: World) -> Input:
    """Prepare to read what `splits` hold, as `recipe` and `plan` ask; nothing is read yet but what is cached."""
    data, res = recipe.data, as_grid(recipe.model.res)
    samples = cached(splits.train, data.cache, data.max_pixels, world.size)
    workers = choose_workers(samples, os.cpu_count() or 1, world.size) if data.workers == "auto" else data.workers
    order = Order(len(samples), recipe.seed, plan.batch_size, data.repeats)
    transform = build_train_transform(recipe.augment, res, preprocess)
    patience = Patience(data.timeout, world.watch.say)

    def train(steps: range, workers: int) -> TrainBatches:
        return TrainBatches(
            samples,
            order,
            transform,
            steps=steps,
            rank=world.rank,
            size=world.size,
            workers=workers,
            max_pixels=data.max_pixels,
            patience=patience,
        )

    judged = EvalBatches(
        splits.val,
        build_eval_transform(preprocess, res),
        batch_size=recipe.eval.batch_size or plan.micro_batch,
        rank=world.rank,
        size=world.size,
        workers=workers,
        max_pixels=data.max_pixels,
        patience=patience,
    )
    return Input(order, RememberedBatches(judged), train, plan.total_steps, workers)

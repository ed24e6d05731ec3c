"""The first training images, as they are and as training will see them: augmented in every epoch, and mixed."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.augment.mix import NoMix
from vit_cli.data.batch import Batch
from vit_cli.data.decode import BadImage, to_pixels
from vit_cli.data.loader import TrainBatches
from vit_cli.data.open import open_splits
from vit_cli.data.order import Draws, Order
from vit_cli.data.samples import Labels, Samples
from vit_cli.dist.world import World
from vit_cli.metrics.task import Task
from vit_cli.metrics.tasks import make_task
from vit_cli.recipe.plan import make_plan
from vit_cli.recipe.schema import Recipe
from vit_cli.section import as_grid
from vit_cli.train.input import lay_in, make_input
from vit_cli.train.wire import make_preprocess


@dataclass(frozen=True)
class FirstImages(Order):
    """An order in which every step shows the first `count` images of the first batch, step k as epoch k does."""

    count: int = 1

    def draws(self, step: int, start: int = 0, stop: int | None = None) -> Draws:
        """Give all of these images, with the randomness of `step` epochs later."""
        del start, stop
        first = super().draws(0, 0, self.count)
        return Draws(first.indices, first.epochs + step * self.repeats, first.positions)


@dataclass(frozen=True, eq=False)
class Preview:
    """Training images in several states; uint8, with their `labels` in the user's units.

    `originals` (n) are whole and of any size, or say why an image can't be read; `versions` (epochs, n, 3, rows,
    columns) are augmented. `mixed` (m, 3, rows, columns) are the first of the first batch with `targets`, the weights of
    their labels (m, K); m is 0 where nothing is mixed.
    """

    title: str
    facts: str
    task: Task
    originals: list[Tensor | str]
    labels: Labels
    versions: Tensor
    mixed: Tensor
    targets: NDArray[np.float32]


def make_preview(recipe: Recipe, images: int, epochs: int) -> Preview:
    """Show so many images of the first batch in so many epochs, and twice as many of it, in rows of 1 + `epochs`, mixed."""
    splits = open_splits(recipe.data.train, recipe.data.val, recipe.data.parting, task=recipe.task)
    plan = make_plan(recipe, images=len(splits.train))
    world = World(0, 1, torch.device("cpu"))
    task = make_task(recipe.task, splits.classes, splits.scale)
    batches = make_input(recipe, splits, lay_in(recipe, splits, world), plan, make_preprocess(recipe), world).by_hand
    mixer = recipe.mix.build(recipe.seed, len(splits.classes), plan.batch_size, plan.mix_group, plan.mix_until_step)
    wanted = images if isinstance(mixer, NoMix) else max(images, 2 * (1 + epochs))
    count = min(-(-wanted // plan.mix_group) * plan.mix_group, plan.batch_size)
    first = show(batches, count, epoch=0)
    images = min(images, count)
    versions = [first.images[:images], *(show(batches, images, epoch).images for epoch in range(1, epochs))]
    mixed, targets = first.images[:0], first.labels[:0]
    if not isinstance(mixer, NoMix):
        floats, targets = mixer(first.images.float(), first.labels, 0, 0)
        mixed = floats.round().to(torch.uint8)
    return Preview(
        title=f"{splits.title}: {images} of {len(splits.train):,} training images, as the model sees them",
        facts=describe(recipe),
        task=task,
        originals=[read_whole(splits.train, row, recipe.data.max_pixels) for row in first.indices[:images].tolist()],
        labels=task.in_units(first.labels[:images].numpy()),
        versions=torch.stack(versions),
        mixed=mixed[: 2 * (1 + epochs)],
        targets=targets[: 2 * (1 + epochs)].numpy(),
    )


def show(batches: TrainBatches, count: int, epoch: int) -> Batch:
    """Make the first `count` images of the first batch with the randomness of another epoch, counted from 0."""
    order, steps = FirstImages(**asdict(batches.order), count=count), range(epoch, epoch + 1)
    same = TrainBatches(batches.samples, order, batches.augmentation.at(0), steps=steps, max_pixels=batches.max_pixels)
    return same.make(epoch)


def read_whole(samples: Samples, row: int, max_pixels: int) -> Tensor | str:
    """Read all of an image: (3, h, w); or say why that is not possible."""
    try:
        return to_pixels(samples.read(row), max_pixels)
    except BadImage as error:
        return error.reason
    except OSError as error:
        return f"unreadable: {error.strerror}"


def describe(recipe: Recipe) -> str:
    """Say in one line what happens to a training image."""
    augment = ", ".join(item.name for item in recipe.augment) or "nothing but a resize"
    mix = [f"{name} {alpha:g}" for name, alpha in (("mixup", recipe.mix.mixup), ("cutmix", recipe.mix.cutmix)) if alpha]
    res = next((phase.res for phase in recipe.train.phases), None) or recipe.model.res
    facts = [f"{as_grid(res)} pixels", f"augment: {augment}", f"mix: {', '.join(mix) or 'nothing'}"]
    return "  ·  ".join([*facts, f"seed {recipe.seed}"])

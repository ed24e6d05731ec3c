"""A saved model, ready to judge or to ask: nothing but its path is needed."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from torch import Tensor

from vit_cli.augment.fit import Fit
from vit_cli.augment.preprocess import Preprocess, build_eval_transform, normalise
from vit_cli.checkpoint.commit import commit
from vit_cli.checkpoint.model import Saved
from vit_cli.data.decode import MAX_PIXELS
from vit_cli.data.loader import EvalBatches
from vit_cli.data.resident import find_resident
from vit_cli.data.samples import Samples
from vit_cli.data.workers import choose_workers
from vit_cli.device import Precision, choose_precision
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.evaluate.evaluate import Answers, Evaluation, evaluate
from vit_cli.evaluate.mirror import Mirrored
from vit_cli.evaluate.onnx import OnnxModel
from vit_cli.evaluate.open import open_weights, tell_import
from vit_cli.memory import keep_memory
from vit_cli.metrics.task import Task
from vit_cli.metrics.tasks import make_task
from vit_cli.models import Model
from vit_cli.models.adapt import load_weights, stretch_tables
from vit_cli.models.classifier import Classifier
from vit_cli.models.positions import Stretch
from vit_cli.models.stream import narrow_stream
from vit_cli.recipe.plain import at_res, read_section
from vit_cli.recipe.schema import Data, Train
from vit_cli.section import Grid, Scale, TaskName, as_grid

FEW = 500
"""So many images are judged before workers would have started."""


@dataclass(frozen=True)
class Ready:
    """A model with its weights, at the resolution it is asked at, and how images are brought to it.

    `precision` and `data` are those it was trained with; `data` is None for weights that do not tell.
    """

    saved: Saved
    model: Classifier
    res: Grid
    preprocess: Preprocess
    precision: Precision
    data: Data | None
    changes: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.saved.class_names

    @property
    def task(self) -> Task:
        """What the model was trained to tell about an image."""
        return read_task(self.saved)

    @property
    def max_pixels(self) -> int:
        """The size of the largest image that is decoded."""
        return self.data.max_pixels if self.data else MAX_PIXELS

    @property
    def transform(self) -> Fit:
        """What turns a decoded image (3, h, w) into one of the model's size, both uint8."""
        return build_eval_transform(self.preprocess, self.res)

    def prepare(self, images: Tensor) -> Tensor:
        """Turn uint8 images (b, 3, rows, columns) into the numbers the model takes."""
        if isinstance(self.model, OnnxModel) and self.model.takes_bytes:
            return images
        return normalise(images, self.preprocess)


def get_ready(path: Path, world: World, res: int | tuple[int, int] | None = None, needs_head: bool = True) -> Ready:
    """Read the model at `path` (ours, or foreign weights); `res` stretches its positions for another size.

    Raises CheckpointError if there is no model, it has no classes (unless its features alone are wanted, and it `needs_head`
    not) or its weights do not fit, UsageError for a `res` that its patches do not divide.
    """
    return make_ready(open_saved(path, needs_head), world, res)


def open_saved(path: Path, needs_head: bool = True) -> Saved:
    """Read the model at `path` (ours, or foreign weights); CheckpointError if there is none, or no classes but it `needs_head`."""
    saved = open_weights(path)
    if needs_head and not saved.class_names:
        raise CheckpointError(
            f"{saved.path} has no head, so it names no classes",
            "Train one: vit finetune FROM --data DIR, with this as FROM.",
        )
    return saved


def make_ready(saved: Saved, world: World, res: int | tuple[int, int] | None = None) -> Ready:
    """Make a model of what was read; the rest is as in `get_ready`."""
    section = read_section(Model, saved.about["model"])
    source = section.position_grids()
    if res is not None:
        section = change_res(section, res)
    stretched = stretch_tables(saved.weights, source, section.position_grids(), Stretch())
    model = section.build(len(saved.class_names))
    load_weights(model, stretched.weights)
    precision = choose_precision(asked_precision(saved), world.device, model.width)
    narrow_stream(model, precision == "bf16_stream")
    return Ready(
        saved=saved,
        model=model.to(world.device).eval(),
        res=as_grid(section.res),
        preprocess=read_section(Preprocess, saved.about["preprocess"]),
        precision=precision,
        data=read_data(saved),
        changes=(*tell_import(saved), *stretched.changes),
    )


def asked_precision(saved: Saved) -> Literal["auto"] | Precision:
    """Give the precision that the model's recipe asks for; `auto` for weights that tell no recipe."""
    recipe = saved.about.get("recipe")
    train: Train | None = read_section(Train, recipe.get("train")) if recipe else None
    return train.precision if train else "auto"


def read_task(saved: Saved) -> Task:
    """Give the task that a model was trained for; classification for weights that do not tell."""
    name: TaskName = read_section(TaskName, saved.about.get("task", "classification"))
    try:
        return make_task(name, saved.class_names, read_scale(saved))
    except ValueError as error:
        raise CheckpointError(f"{saved.path} does not fit its own task: {error}") from error


def read_scale(saved: Saved) -> Scale | None:
    """Give the scale of the targets that a model tells; None for other tasks."""
    plain = saved.about.get("scale") if saved.about.get("task") == "regression" else None
    scale: Scale | None = read_section(Scale, plain) if plain is not None else None
    return scale


def read_data(saved: Saved) -> Data | None:
    """Give the section of the data that the model was trained on; None for weights that do not tell."""
    plain = saved.about.get("data")
    data: Data | None = read_section(Data, plain) if plain else None
    return data


def change_res(section: Model, res: int | tuple[int, int]) -> Model:
    """Give the model's section for another resolution; UsageError if its patches do not divide it."""
    try:
        return at_res(section, res)
    except ValidationError as error:
        raise UsageError(f"--res {res}: {error.errors()[0]['ctx']['error']}") from error


def check_resolutions(saved: Saved, resolutions: Sequence[int]) -> None:
    """Raise UsageError that tells of all resolutions that the model's patches do not divide."""
    section, bad = read_section(Model, saved.about["model"]), []
    for res in resolutions:
        try:
            change_res(section, res)
        except UsageError as error:
            bad.append(error.problem)
    if bad:
        raise UsageError("\n".join(bad))


def evaluate_saved(
    ready: Ready,
    samples: Samples,
    world: World,
    batch_size: int = 64,
    flips: bool = False,
    alter: Callable[[Tensor, int], Tensor] | None = None,
) -> Evaluation:
    """Judge a saved model on `samples`, each image once, in the precision that it was trained in.

    With `flips` it answers by the mean of its logits for an image and its mirror image. `alter` changes each image, whose
    number it is told, before the model sees it.
    """
    batches = read_batches(ready, samples, world, batch_size, alter)
    model = Mirrored(ready.model) if flips else ready.model
    keep_memory()
    return evaluate(model, batches, ready.prepare, ready.task, world, ready.precision, keep_answers=True)


def read_batches(
    ready: Ready,
    samples: Samples,
    world: World,
    batch_size: int = 64,
    alter: Callable[[Tensor, int], Tensor] | None = None,
) -> EvalBatches:
    """Give this process's part of all images, brought to the model's size and changed by `alter`, if that is given."""
    return EvalBatches(
        samples,
        ready.transform.look,
        batch_size=batch_size,
        rank=world.rank,
        size=world.size,
        workers=count_workers(ready, samples, world),
        max_pixels=ready.max_pixels,
        res=ready.res,
        alter=alter,
    )


def count_workers(ready: Ready, samples: Samples, world: World) -> int:
    """Give the number of processes that load images: what the recipe says, but none for few images."""
    if len(samples) <= FEW or find_resident(samples):
        return 0
    if ready.data and ready.data.workers != "auto":
        return ready.data.workers
    return choose_workers(os.cpu_count() or 1, world.size)


def write_predictions(path: Path, answers: Answers, samples: Samples, task: Task) -> None:
    """Write a CSV with a line per image, in the order of the data: whole or not at all, but for pipes and devices."""
    answer, place = answers.answer, path.resolve()

    def write(aside: Path) -> None:
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *task.heads(), "loss"])
            for row, (index, loss) in enumerate(zip(answers.indices, answers.losses, strict=True)):
                writer.writerow([samples.name(int(index)), *task.cells(answer, row), repr(float(loss))])

    if place.exists() and not place.is_file():
        write(place)
    else:
        commit(place, write)

"""What is to be measured: a recipe of any sort, with random images in the place of its data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_cli.data.digits import Digits
from vit_cli.data.open import Splits
from vit_cli.data.samples import Labels, Pixels
from vit_cli.data.synthetic import Synthetic
from vit_cli.data.table import Table
from vit_cli.data.targets import open_source
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.open import open_weights
from vit_cli.recipe.changes import COMMAND_LINE, apply_changes
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import load_recipe, validate
from vit_cli.recipe.schema import Recipe
from vit_cli.recipe.yaml_reader import Tree
from vit_cli.section import Duration, Scale, TaskName, as_grid
from vit_cli.train.teacher import explain_missing

PLAIN: Mapping[str, Any] = {
    "model": {"name": "vit", "size": "tiny", "patch": 16, "res": 224},
    "data": {"train": {"name": "synthetic", "classes": 1000}},
    "optim": {"name": "adamw"},
    "train": {"steps": 1000, "batch_size": 256},
}
"""What is measured if nothing is named; of weights that tell no recipe, all but the model."""
CLASSES = 1000
MOST_PIXELS = {"cpu": 32 * 224**2, "cuda": 256 * 224**2}
"""Pixels of a batch on one process, unless the command line sets its size: with more of them speed grows little."""
STEPS = 1_000_000
NO_STEPS = Duration("0 steps")


@dataclass(frozen=True)
class Subject:
    """What is to be measured: a recipe, and the names of the classes where weights tell them.

    `keeps_batch` says that the command line asks for this batch size.
    """

    name: str
    recipe: Recipe
    class_names: tuple[str, ...]
    keeps_batch: bool


def find_subject(name: str | None, changes: Sequence[str]) -> Subject:
    """Find what to measure: a shipped recipe or one in a file, or the model of a run, checkpoint, model folder or weights.

    Raises RecipeError, UsageError or CheckpointError as `vit train` and `vit eval` do.
    """
    if name is None:
        tree, class_names = Tree("the default recipe", dict(PLAIN)), tuple[str, ...]()
    elif name in shipped_recipes() or Path(name).suffix in (".yaml", ".yml") or not Path(name).exists():
        loaded = load_recipe(name, changes)
        return Subject(loaded.path.stem, loaded.recipe, (), is_asked(loaded.tree))
    else:
        saved = open_weights(Path(name))
        told = {key: saved.about[key] for key in ("task", "model") if key in saved.about}
        tree, class_names = Tree(name, saved.about.get("recipe") or {**PLAIN, **told}), saved.class_names
    tree = apply_changes(tree, changes, Recipe)
    return Subject(tree.name, validate(tree, Recipe, Path(tree.name)), class_names, is_asked(tree))


def is_asked(tree: Tree) -> bool:
    """Tell whether the command line sets the batch size."""
    section = tree.values.get("train")
    is_set = isinstance(section, dict) and "batch_size" in section
    return is_set and tree.place(("train", "batch_size")) == COMMAND_LINE


def adapt(subject: Subject, world: World) -> Recipe:
    """Give a recipe as it is measured: amid a long run at the peak learning rate, with the weights first drawn.

    The batch is made smaller where it is too large for a measurement. Classes weigh the same, since none is known by name.
    """
    recipe = subject.recipe
    rows, columns = as_grid(recipe.model.res)
    most = max(MOST_PIXELS[world.device.type] // (rows * columns), 2)
    most = world.size * 2 ** int(math.log2(most))  # processes and what is mixed among neighbours divide it
    size = recipe.train.batch_size if subject.keeps_batch else min(recipe.train.batch_size, most)
    changes: dict[str, dict[str, Any]] = {
        "mix": {"until": None},
        "loss": {"class_weights": "none"} if "class_weights" in type(recipe.loss).model_fields else {},
        "schedule": {"warmup": NO_STEPS, "cooldown": NO_STEPS},
        "train": {"epochs": None, "steps": STEPS, "batch_size": size, "phases": ()},
    }
    sections = {key: getattr(recipe, key).model_copy(update=values) for key, values in changes.items()}
    return recipe.model_copy(update={**sections, "finetune": None})


def name_classes(subject: Subject) -> tuple[tuple[str, ...], str]:
    """Give names for what the model tells, and say where they are from: data that lies in files is not opened."""
    recipe = subject.recipe
    source, distill = recipe.data.train, recipe.distill
    if distill is not None and not distill.source.exists():
        hint = f"{explain_missing(distill.teacher)}\nTo measure without a teacher: distill=null"
        raise CheckpointError(f"there is no teacher {distill.source}", hint)
    if subject.class_names:
        return subject.class_names, "as in the weights"
    if distill is not None and isinstance(distill.teacher, Path):
        return open_weights(distill.teacher).class_names, "as the teacher knows"
    if isinstance(source, Digits | Synthetic):
        return open_source(source, recipe.task).classes, "by the recipe"
    if recipe.task == "regression":
        return (source.targets if isinstance(source, Table) else None) or ("target",), "by the recipe"
    return tuple(f"class {number}" for number in range(CLASSES)), "supposed: the recipe's data is not opened"


def make_splits(recipe: Recipe, classes: tuple[str, ...]) -> Splits:
    """Make up data that is as large as a batch; its images are never looked at."""
    images, scale = recipe.train.batch_size, None
    if recipe.task == "regression":
        scale = Scale(mean=(0.0,) * len(classes), std=(1.0,) * len(classes))
    pixels = np.zeros((images, 1, 1), dtype=np.uint8)
    samples = Pixels("random", pixels, draw_labels(recipe.task, images, len(classes)), classes)
    return Splits(samples, samples, classes, None, "random images", recipe.task, scale)


def draw_labels(task: TaskName, images: int, classes: int) -> Labels:
    """Draw class numbers (n,), marks or numbers (n, K)."""
    random = np.random.default_rng(0)
    if task == "classification":
        return random.integers(classes, size=images)
    values = random.standard_normal((images, classes), dtype=np.float32)
    return values if task == "regression" else (values > 1).astype(np.float32)

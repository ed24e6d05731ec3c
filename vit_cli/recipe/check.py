"""What the sections of a recipe must have to do with each other, as far as it shows without the data."""

from __future__ import annotations

from collections.abc import Iterator

from vit_cli.data.table import Table
from vit_cli.models.vit_fields import VitFields
from vit_cli.optim.adamw import AdamW
from vit_cli.optim.losses import BinaryCrossEntropy
from vit_cli.recipe.phases import check_phase
from vit_cli.recipe.problems import KeyPath, Problem
from vit_cli.recipe.schema import Choices, FinetuneRecipe, Recipe
from vit_cli.section import Duration

LOSSES: dict[str, tuple[str, ...]] = {
    "classification": ("cross_entropy", "binary_cross_entropy"),
    "multilabel": ("binary_cross_entropy",),
    "regression": ("mse", "l1", "huber"),
}
"""The losses for each task; the first is the one to take where a recipe names none."""


def check(recipe: Recipe | FinetuneRecipe) -> list[Problem]:
    """Find what contradicts itself in a recipe whose every section is valid."""
    found = (
        check_durations(recipe),
        check_batches(recipe),
        check_graph(recipe),
        check_augment(recipe),
        check_task(recipe),
        check_blocks(recipe),
        check_phases(recipe),
        check_parts(recipe),
    )
    return [problem for problems in found for problem in problems]


def check_durations(recipe: Choices) -> Iterator[Problem]:
    """What happens every so often needs a length, and nothing lasts longer than the run."""
    intervals: dict[KeyPath, Duration] = {
        ("eval", "every"): recipe.eval.every,
        ("save", "every"): recipe.save.every,
        ("track", "log_every"): recipe.track.log_every,
    }
    for path, every in intervals.items():
        if not every.amount:
            yield Problem(path, "must be above zero")
    spans: dict[KeyPath, Duration | None] = {
        ("schedule", "warmup"): recipe.schedule.warmup,
        ("schedule", "cooldown"): recipe.schedule.cooldown,
        ("mix", "until"): recipe.mix.until,
        **{("train", "phases", number, "until"): phase.until for number, phase in enumerate(recipe.train.phases)},
    }
    for path, span in spans.items():
        if span is not None and is_longer(span, recipe.train.length):
            yield Problem(path, f"{span} is longer than the run, which is {recipe.train.length}")


def is_longer(span: Duration, run: Duration) -> bool:
    """Tell whether a duration is longer than the run, where both have the same unit; `make_plan` sees the rest."""
    return span.unit == run.unit and span.amount > run.amount


def check_phases(recipe: Choices) -> Iterator[Problem]:
    """Phases follow each other, and the model can do with what they show it."""
    before = Duration("0 steps")
    for number, phase in enumerate(recipe.train.phases):
        path: KeyPath = ("train", "phases", number)
        begins = phase.until.unit == before.unit and phase.until.amount <= before.amount
        if begins or not phase.until.amount:
            yield Problem((*path, "until"), f"a phase must end after it begins, at {before}")
        before = phase.until
        if isinstance(recipe, Recipe):
            yield from check_phase(phase, recipe.model, path)
            if phase.res is not None and recipe.data.decode == "gpu":
                yield Problem((*path, "res"), "is for images that workers decode, and data.decode is gpu")


def check_batches(recipe: Recipe | FinetuneRecipe) -> Iterator[Problem]:
    """Micro batches are parts of a batch, and mixing needs a partner of another image."""
    size, micro = recipe.train.batch_size, recipe.train.micro_batch
    repeats = recipe.data.repeats if recipe.data is not None else 1
    if isinstance(micro, int) and micro > size:
        yield Problem(("train", "micro_batch"), f"{micro} is more than the batch_size, {size}")
    if repeats > size:
        yield Problem(("data", "repeats"), f"{repeats} views of each image do not fit into a batch of {size}")
    if mixes(recipe) and size == 1:
        yield Problem(("train", "batch_size"), "mixup and cutmix need a batch of at least 2")


def check_graph(recipe: Choices) -> Iterator[Problem]:
    """A graph of a whole step holds one process's kernels; train/graph.py sees what depends on the device and the plan."""
    train = recipe.train
    if train.graph != "on":
        return
    if not isinstance(recipe.optim, AdamW):
        yield Problem(("train", "graph"), f"can be on with optim adamw only, not with {recipe.optim.name}")
    if train.deterministic:
        yield Problem(("train", "graph"), "can't be on with deterministic, which changes what a GPU may run")
    if train.recompute != "none":
        yield Problem(("train", "graph"), "can't be on with recompute, which asks for the state of random numbers")
    if train.phases:
        yield Problem(("train", "graph"), "can't be on with phases, whose steps differ in shape")
    if train.shard == "full":
        yield Problem(("train", "graph"), "can't be on with shard: full, where processes wait for each other in a step")


def check_augment(recipe: Choices) -> Iterator[Problem]:
    """An image is brought to res once, before it is painted over; after that only a random crop has a use."""
    before = ""
    for number, item in enumerate(recipe.augment):
        if item.sizes and before and item.name != "random_crop":
            yield Problem(
                ("augment", number, "name"), f"{item.name} has no use after {before}: the image is at res by then"
            )
        if item.sizes or item.name == "random_erasing":
            before = item.name


def check_task(recipe: Choices) -> Iterator[Problem]:
    """A loss is for a task, and what is about classes that exclude each other is for classification."""
    task, loss = recipe.task, recipe.loss
    if loss.name not in LOSSES[task]:
        fitting = " or ".join(LOSSES[task])
        yield Problem(("loss", "name"), f"{loss.name} is not for the task {task}, which takes {fitting}")
    yield from check_separators(recipe)
    if task == "classification":
        return
    if isinstance(loss, BinaryCrossEntropy) and loss.label_smoothing:
        yield Problem(
            ("loss", "label_smoothing"), "is for images of one class each: it is spread over the other classes"
        )
    if isinstance(loss, BinaryCrossEntropy) and loss.class_weights != "none":
        yield Problem(("loss", "class_weights"), "are for images of one class each: they weigh an image by its class")
    if recipe.train.early_stop is not None and recipe.train.early_stop.metric == "top1":
        yield Problem(("train", "early_stop", "metric"), f"top1 is for classification; {task} has score or loss")
    if recipe.distill is not None:
        yield Problem(("distill",), f"is for classification: a teacher's answers are classes, not those of {task}")


def check_parts(recipe: Choices) -> Iterator[Problem]:
    """An optimiser that looks at whole matrices can't go on with parts of them."""
    if recipe.train.shard == "full" and recipe.optim.name == "muon":
        yield Problem(
            ("train", "shard"),
            "full leaves a process only rows of a matrix, and muon needs all of it; take none, or optim.name=adamw",
        )


def check_separators(recipe: Choices) -> Iterator[Problem]:
    """A separator is for cells that hold several labels."""
    data = recipe.data if isinstance(recipe, Recipe | FinetuneRecipe) else None
    for key in ("train", "val") if data is not None and recipe.task != "multilabel" else ():
        source = getattr(data, key)
        if isinstance(source, Table) and source.separator is not None:
            yield Problem(("data", key, "separator"), f"is for task: multilabel; the task here is {recipe.task}")


def check_blocks(recipe: Choices) -> Iterator[Problem]:
    """What is done to blocks of attention needs some."""
    if not isinstance(recipe, Recipe):
        return
    if recipe.train.precision == "bf16_stream" and not isinstance(recipe.model, VitFields):
        yield Problem(("train", "precision"), f"bf16_stream is not for a {recipe.model.name}; take bf16")
    if recipe.model.name not in ("resnet", "convnext"):
        return
    for key, value in (("recompute", recipe.train.recompute), ("compile", recipe.train.compile)):
        if value in ("mlp", "blocks"):
            yield Problem(("train", key), f"{value} is for blocks of attention; a {recipe.model.name} has none")


def mixes(recipe: Choices) -> bool:
    """Tell whether images are mixed at all."""
    return recipe.mix.prob > 0 and (recipe.mix.mixup > 0 or recipe.mix.cutmix > 0)

"""Recipe -> Run: everything that training needs, built and joined in reading order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vit_cli import __version__
from vit_cli.augment.mix import Mixer, NoMix
from vit_cli.augment.preprocess import Preprocess, normalise
from vit_cli.checkpoint.model import Saved
from vit_cli.checkpoint.writer import Writer
from vit_cli.data.bad import BadImageLog
from vit_cli.data.fingerprint import fingerprint
from vit_cli.data.open import Splits, open_splits
from vit_cli.data.samples import count_images
from vit_cli.device import Precision, autocast, choose_precision, peak_memory_gib, seed_all, set_determinism
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.evaluate import Evaluation, evaluate
from vit_cli.evaluate.open import open_weights
from vit_cli.memory import keep_memory
from vit_cli.metrics.task import Task
from vit_cli.metrics.tasks import make_task
from vit_cli.models.classifier import Classifier
from vit_cli.models.recompute import recompute
from vit_cli.models.stream import narrow_stream
from vit_cli.optim.clip import Clip, NoClip
from vit_cli.optim.ema import Ema, NoEma
from vit_cli.optim.groups import make_groups, no_matrices
from vit_cli.optim.muon import Muon
from vit_cli.optim.penalty import L1, NoPenalty
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.plan import Plan, make_plan
from vit_cli.recipe.schema import Data, Recipe
from vit_cli.section import Scale, as_grid
from vit_cli.train.compile import compile_model
from vit_cli.train.dropping import Dropping, NoDropping, build_dropping
from vit_cli.train.fit import Trial, find_micro_batch
from vit_cli.train.folder import RunFolder
from vit_cli.train.graph import Step, choose_step
from vit_cli.train.input import Input, lay_in, make_input
from vit_cli.train.journal import Clock, Journal
from vit_cli.train.objective import Objective, build_objective
from vit_cli.train.progress import Progress
from vit_cli.train.statistics import NoStatistics, RunningStatistics, find_statistics
from vit_cli.train.stop import StopFlag
from vit_cli.train.teacher import Student, Teacher, open_teacher
from vit_cli.train.tracking import make_tracking
from vit_cli.train.weights import load_first_weights

PARTED = (("train", "data"), ("hold_out", "share"), ("fold", "fold"))
"""Keys of the data that say which images are held out, with words for them."""


@dataclass(frozen=True)
class Run:
    """Everything of one run, built; only the weights, the optimiser and the averages inside change, with `TrainState`."""

    recipe: Recipe
    plan: Plan
    world: World
    folder: RunFolder
    splits: Splits
    task: Task
    about: dict[str, Any]
    model: Classifier
    wrapped: nn.Module
    parameters: list[Tensor]
    precision: Precision
    prepare: Callable[[Tensor], Tensor]
    input: Input
    mixer: Mixer | NoMix
    take_step: Step
    dropping: Dropping | NoDropping
    loss: nn.Module
    objective: Objective
    penalty: L1 | NoPenalty
    clip: Clip | NoClip
    optimizer: torch.optim.Optimizer
    ema: Ema | NoEma
    statistics: RunningStatistics | NoStatistics
    evaluate: Callable[[StopFlag], Evaluation]
    bad_images: BadImageLog
    journal: Journal
    progress: Progress
    changes: tuple[str, ...]
    writer: Writer = field(default_factory=Writer)
    clock: Clock = field(default_factory=Clock)

    def memory_gib(self) -> float:
        """Tell the peak memory of this process."""
        return peak_memory_gib(self.world.device)


def wire(
    recipe: Recipe,
    folder: RunFolder,
    world: World,
    progress: Progress,
    resumed: dict[str, Any] | None = None,
    opened: Splits | None = None,
) -> Run:
    """Build all that `recipe` asks for, on `opened` in place of its data; `resumed` is what a checkpoint to go on from says."""
    trackers = make_tracking(recipe, folder, world.is_first, progress.note)
    saved = open_weights(recipe.finetune.weights) if recipe.finetune and not resumed else None
    splits, changes = (opened, []) if opened else open_data(recipe, resumed or (saved.about if saved else None))
    plan = make_plan(recipe, images=len(splits.train), processes=world.size)
    prepare_process(recipe)
    preprocess = make_preprocess(recipe)
    task = make_task(recipe.task, splits.classes, splits.scale)
    teacher = find_teacher(recipe, splits, plan, preprocess, world)
    model = build_model(recipe, saved, splits, plan, world, changes)
    precision = settle_precision(recipe, model, world)
    agree = world.any if recipe.train.shard == "full" else bool  # processes with parts judge every batch together
    loss = build_loss(recipe, splits, world)
    in_precision = partial(autocast, world.device, precision)
    stock = lay_in(recipe, splits, world)
    alone = build_objective(recipe.distill, teacher, model, model, loss, in_precision)
    plan = fit_plan(plan, Trial(recipe, model, alone, world, outputs=len(splits.classes)), resumed)
    wrapped = world.wrap(compile_model(model, recipe.train.compile))
    input = make_input(recipe, splits, stock, plan, preprocess, world)
    prepare = partial(normalise, preprocess=preprocess)
    return Run(
        recipe=recipe,
        plan=plan,
        world=world,
        folder=folder,
        splits=splits,
        task=task,
        changes=tuple(changes),
        about=describe_model(recipe, splits, preprocess, precision, teacher) | {"micro_batch": plan.micro_batch},
        model=model,
        wrapped=wrapped,
        parameters=list(model.parameters()),
        precision=precision,
        prepare=prepare,
        input=input,
        mixer=recipe.mix.build(recipe.seed, len(splits.classes), plan.batch_size, plan.mix_group, plan.mix_until_step),
        take_step=choose_step(recipe, plan, world),
        dropping=build_dropping(plan, model),
        loss=loss,
        objective=build_objective(recipe.distill, teacher, wrapped, model, loss, in_precision),
        penalty=build_penalty(recipe, model),
        clip=NoClip() if recipe.train.clip_norm is None else Clip(recipe.train.clip_norm),
        optimizer=build_optimizer(recipe, model),
        ema=Ema(model.named_parameters(), ema.decay, ema.warmup) if (ema := recipe.train.ema) else NoEma(),
        statistics=find_statistics(model, world),
        evaluate=lambda stop: evaluate(
            model, stop.until_signalled(input.judged, agree), prepare, task, world, precision
        ),
        bad_images=open_bad_images(recipe, folder, splits, world, resumes=resumed is not None),
        journal=Journal(folder, task.shown, writes=world.is_first, trackers=trackers),
        progress=progress,
    )


def prepare_process(recipe: Recipe) -> None:
    """Choose the kernels that `recipe` wants, and keep memory for the next step."""
    set_determinism(recipe.train.deterministic)
    keep_memory()


def settle_precision(recipe: Recipe, model: Classifier, world: World) -> Precision:
    """Choose what `model` computes in, and have its tokens stay so between blocks if that is asked for."""
    precision = choose_precision(recipe.train.precision, world.device, model.width)
    narrow_stream(model, precision == "bf16_stream")
    return precision


def find_teacher(recipe: Recipe, splits: Splits, plan: Plan, preprocess: Preprocess, world: World) -> Teacher | None:
    """Open the teacher that a recipe names, if it does; before the student's first weights are drawn."""
    if recipe.distill is None:
        return None
    phases = tuple(as_grid(phase.res) for phase in plan.phases)
    student = Student(splits.classes, preprocess, as_grid(recipe.model.res), phases)
    return open_teacher(recipe.distill.teacher, student, world)


def open_bad_images(recipe: Recipe, folder: RunFolder, splits: Splits, world: World, resumes: bool) -> BadImageLog:
    """Open the list of images that could not be read; one that `resumes` goes on counting."""
    path, images = folder.path / "bad_images.jsonl", len(splits.train)
    return BadImageLog(path, images, recipe.data.max_bad, resumes=resumes, writes=world.is_first)


def build_loss(recipe: Recipe, splits: Splits, world: World) -> nn.Module:
    """Build the loss by the labels, which may weigh classes by how many training images show them."""
    return recipe.loss.build(splits.classes, count_images(splits.train)).to(world.device)


def fit_plan(plan: Plan, trial: Trial, resumed: Mapping[str, Any] | None) -> Plan:
    """Give the plan with the micro batch that fits, where the recipe leaves that to the memory."""
    return make_plan(trial.recipe, plan.images, plan.processes, find_micro_batch(plan, trial, resumed))


def build_model(
    recipe: Recipe, saved: Saved | None, splits: Splits, plan: Plan, world: World, changes: list[str]
) -> Classifier:
    """Build the model with its first weights, on its device and in parts if asked; add to `changes` what fine-tuning changed."""
    seed_all(recipe.seed)
    model = recipe.model.build(len(splits.classes)).to(world.device)
    if recipe.finetune and saved:
        changes += load_first_weights(model, recipe, recipe.finetune, saved, splits.classes)
    recompute(model, recipe.train.recompute)
    for phase in plan.phases:
        model.allow(as_grid(phase.res))
    if recipe.train.shard == "full":
        world.shard(model)
    return model


def build_penalty(recipe: Recipe, model: Classifier) -> L1 | NoPenalty:
    """Build the penalty on the kernels, if there is one."""
    kernels = [weight for name, weight in model.named_parameters() if model.decays(name, weight)]
    return L1(kernels, recipe.loss.l1) if recipe.loss.l1 else NoPenalty()


def build_optimizer(recipe: Recipe, model: Classifier) -> torch.optim.Optimizer:
    """Build the optimiser, with each parameter in the group of its decay and its layer."""
    groups = make_groups(
        model.named_parameters(),
        weight_decay=recipe.optim.weight_decay,
        layer_decay=recipe.optim.layer_decay,
        decays=model.decays,
        layer_of=model.layer_of,
        layers=model.layers,
        matrices=model.matrices if isinstance(recipe.optim, Muon) else no_matrices,
    )
    return recipe.optim.build(groups)


def open_data(recipe: Recipe, before: Mapping[str, Any] | None) -> tuple[Splits, list[str]]:
    """Open the data, with a note if what is held out is not what the run `before` held out.

    Of the same data the same images stay held out, but for new classes. Equal classes keep the order of `before`, and
    equal targets its scale, in which a head that is kept answers.
    """
    data = recipe.data
    if before is None:
        return open_splits(data.train, data.val, data.parting, task=recipe.task), []
    new, old = data.model_dump(mode="json"), before.get("data") or {}
    with suppress(CheckpointError):  # keys that came with a newer vit count as their defaults
        old = read_section(Data, old).model_dump(mode="json") if old else {}
    other = [what for key, what in PARTED if new[key] != old.get(key)]
    if (recipe.task == "classification") != (before.get("task", "classification") == "classification"):
        other.append("task")  # only where images have one class each, each class has its own held out
    held = None if data.val or other else before.get("held")
    is_new = recipe.finetune is not None and recipe.finetune.head == "new"
    scale = read_section(Scale, before["scale"]) if before.get("scale") and not is_new else None
    splits = open_splits(data.train, data.val, data.parting, held, before["class_names"], recipe.task, scale)
    if data.val or held or not old:  # foreign weights tell no data
        return splits, []
    return splits, [f"held out anew: the {other[0]} is another one" if other else "held out anew: nothing was before"]


def make_preprocess(recipe: Recipe) -> Preprocess:
    """Gather what happens to an image before the model sees it, in evaluation and prediction alike."""
    return Preprocess(
        mean=recipe.data.mean,
        std=recipe.data.std,
        crop=recipe.eval.crop,
        resize=recipe.eval.resize,
        interpolation=recipe.eval.interpolation,
    )


def describe_model(
    recipe: Recipe, splits: Splits, preprocess: Preprocess, precision: Precision, teacher: Teacher | None
) -> dict[str, Any]:
    """Say in plain values all that the weights need to be used again, anywhere."""
    plain = recipe.model_dump(mode="json")
    return {
        "task": recipe.task,
        "model": plain["model"],
        "res": list(as_grid(recipe.model.res)),
        "class_names": list(splits.classes),
        "preprocess": preprocess.model_dump(mode="json"),
        "data": plain["data"],
        "held": dict(splits.held.thresholds) if splits.held else None,
        "precision": precision,
        "fingerprint": fingerprint(splits.train),
        "val_fingerprint": fingerprint(splits.val),
        "teacher": teacher.digest if teacher else None,
        "recipe": plain,
        "vit_version": __version__,
        **({"scale": splits.scale.model_dump(mode="json")} if splits.scale else {}),
    }

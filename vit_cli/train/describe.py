"""The facts of a run in words, and its final numbers."""

from __future__ import annotations

import shutil
from typing import Any

import torch

from vit_cli.data.summary import describe
from vit_cli.device import computes_in_bf16, describe_device
from vit_cli.models.vit import ViT
from vit_cli.recipe.plain import at_res
from vit_cli.recipe.plan import PlannedPhase
from vit_cli.recipe.schema import Recipe
from vit_cli.section import as_grid
from vit_cli.train.state import TrainState
from vit_cli.train.wire import Run


def describe_run(run: Run) -> dict[str, str]:
    """Put the facts of a run into words, for the header."""
    plan, recipe = run.plan, run.recipe
    millions = sum(parameter.numel() for parameter in run.parameters) / 1e6
    rows, columns = run.about["res"]
    shown = f"{rows}x{columns}"
    return {
        "data": describe(run.splits),
        "model": f"{recipe.model.name}, {millions:.2f} M parameters, {shown} pixels, {run.model.tokens} tokens, "
        f"{run.model.flops() / 1e9:.3g} GFLOPs an image",
        **run.objective.facts(),
        "device": ", ".join([f"{plan.processes} x {describe_device(run.world.device)}", *describe_ways(run)]),
        "batch": describe_batch(run),
        "steps": f"{plan.total_steps} ({plan.steps_per_epoch:.4g} an epoch, {plan.epoch_at(plan.total_steps):.4g} epochs)",
        **describe_phases(run),
        "folder": str(run.folder.path),
    }


def describe_ways(run: Run) -> list[str]:
    """Say in which precision a step computes, what it works out again and what is compiled."""
    train = run.recipe.train
    again = [] if train.recompute == "none" else [f"recompute {train.recompute}"]
    return [run.precision, *again, *([f"compile {train.compile}"] if train.compile in ("blocks", "model") else [])]


def describe_batch(run: Run) -> str:
    """Say how a batch is divided, and what was found where the recipe left that to the memory."""
    plan = run.plan
    parts = f"{plan.micro_batches} micro batch" + ("es" if plan.micro_batches > 1 else "")
    fits = f" of {plan.micro_batch}, the most that fits" if run.recipe.train.micro_batch == "auto" else ""
    return f"{plan.batch_size} = {plan.processes} x {plan.process_batch}, in {parts}{fits}"


def describe_phases(run: Run) -> dict[str, str]:
    """Say what training sees of its images until when, and what that saves; nothing where it always sees all."""
    if not run.recipe.train.phases:
        return {}
    parts, (flops, plain) = [], count_train_flops(run)
    for phase in run.plan.phases:
        dropped = f" without {100 * phase.drop_tokens:.3g} % of the patches" if phase.drop_tokens else ""
        parts.append(f"{as_grid(phase.res)} pixels{dropped} to step {phase.until_step}")
    return {"phases": f"{', '.join(parts)}; {flops:.3g} FLOPs in training, without phases {plain:.3g}"}


def count_train_flops(run: Run) -> tuple[int, int]:
    """Count the operations of all training steps, and what they would be without phases."""
    begin = flops = 0
    for phase in run.plan.phases:
        flops += (phase.until_step - begin) * count_phase_flops(run, phase)
        begin = phase.until_step
    images = run.plan.batch_size
    plain = run.model.training_flops() + run.objective.extra_flops(as_grid(run.recipe.model.res))
    return images * flops, images * run.plan.total_steps * plain


def count_phase_flops(run: Run, phase: PlannedPhase) -> int:
    """Count what training on one image costs as a phase shows it, a teacher's answer included."""
    model = run.model
    if as_grid(phase.res) != as_grid(run.recipe.model.res):
        with torch.device("meta"):
            model = at_res(run.recipe.model, phase.res).build(len(run.splits.classes))
    forward = model.flops(phase.drop_tokens) if isinstance(model, ViT) else model.flops()
    return 3 * forward - model.stem_flops() + run.objective.extra_flops(as_grid(phase.res))


def summarise(run: Run, state: TrainState) -> dict[str, Any]:
    """Gather the final numbers of a run."""
    return {
        "parameters": sum(parameter.numel() for parameter in run.parameters),
        "step": state.step,
        "total_steps": run.plan.total_steps,
        "epochs": round(run.plan.epoch_at(state.step), 4),
        f"best_{run.task.main}": state.best_score,
        "best_step": state.best_step,
        "last": run.journal.last_row(),
        "train_seconds": round(run.clock.seconds, 2),
        "best_checkpoint": str(run.folder.best),
        "model": str(run.folder.model),
    }


def describe_bad(run: Run) -> list[str]:
    """Say how many training images were broken, and where they are listed."""
    count, images = run.bad_images.count, run.bad_images.images
    verbs = "is broken and was" if count == 1 else "are broken and were"
    return [f"{count:,} of {images:,} training images {verbs} replaced: {run.bad_images.path}"] if count else []


def describe_doubts(run: Run) -> list[str]:
    """Say what a recipe asks for that nobody would want."""
    return [*describe_reduction(run.recipe), *describe_imitation(run)]


def describe_imitation(run: Run) -> list[str]:
    """Say that a device has no instructions for the precision that it is asked for."""
    if run.precision == "fp32" or computes_in_bf16(run.world.device):
        return []
    return [
        "this device only imitates bf16, which takes up to a hundred times as long: train.precision=fp32 is fast here"
    ]


def describe_reduction(recipe: Recipe) -> list[str]:
    """Say that pictures are reduced to less than the resolution, and then enlarged."""
    size, least = recipe.data.cache_size, min(as_grid(recipe.model.res))
    if size is None or size >= least:
        return []
    return [f"data.cache_size is {size}, below the resolution of {least}: larger pictures will be blurred"]


def describe_space(run: Run) -> list[str]:
    """Say that the disk may not hold the run's checkpoints: those that are kept, the best, and one being written."""
    weights = sum(weight.nbytes for weight in run.parameters)
    averages = sum(average.nbytes for average in run.ema.state().values())
    count = run.recipe.save.keep + 2
    needed, free = count * (3 * weights + averages), shutil.disk_usage(run.folder.path).free  # 3: with two moments
    if free > needed:
        return []
    return [
        f"the disk has {free / 1e9:.1f} GB left, the checkpoints may need {needed / 1e9:.1f} GB: {count} of "
        f"{needed / count / 1e9:.1f} GB (save.keep is {run.recipe.save.keep})"
    ]

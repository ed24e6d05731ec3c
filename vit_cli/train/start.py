"""Starting, fine-tuning and resuming a run: from a recipe to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from vit_cli.checkpoint.file import read_checkpoint
from vit_cli.data.summary import describe
from vit_cli.device import describe_device
from vit_cli.dist.world import joined
from vit_cli.errors import Stopped, TrainingError, VitError
from vit_cli.recipe.load import Loaded, load_recipe, to_yaml
from vit_cli.train.environment import command_line, describe_environment
from vit_cli.train.folder import RunFolder, make_folder, mark_latest, release_folder, reserve_folder
from vit_cli.train.keep import restore
from vit_cli.train.loop import run_loop
from vit_cli.train.progress import Logged, Progress, Silence
from vit_cli.train.state import TrainState
from vit_cli.train.step import take_step
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run, wire


@dataclass(frozen=True)
class Options:
    """What the command line adds to a recipe; nothing of it changes what is computed."""

    out: Path | None = None
    name: str | None = None
    overwrite: bool = False
    devices: str = "auto"
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """A run that ended in good order."""

    run: Run
    state: TrainState


def start_run(loaded: Loaded, options: Options, progress: Progress) -> Outcome:
    """Train what a recipe asks for, in a new run folder; a recipe with `finetune` starts from its weights.

    Nothing is written before everything is built, so a recipe whose data is missing leaves nothing behind.
    """
    with joined(options.devices) as world:
        name = options.name or loaded.path.stem
        path = reserve_folder(name, options.out, options.overwrite).path if world.is_first else Path()
        folder = RunFolder(Path(world.share(str(path))))
        watcher = Logged(progress, folder.write_log) if world.is_first else Silence()
        try:
            run = wire(loaded.recipe, folder, world, watcher)
            if world.is_first:
                make_folder(folder)
                folder.write_text("recipe.yaml", f"# {command_line()}\n{loaded.text}")
                folder.write_text("resolved.yaml", to_yaml(loaded.recipe))
                folder.write_json("env.json", describe_environment() | {"seed": loaded.recipe.seed})
        finally:
            if world.is_first:
                release_folder(folder)
        world.barrier()
        with reported(run):
            return train(run, TrainState(), StopFlag(options.seconds, speaks=world.is_first))


def try_run(loaded: Loaded, options: Options, progress: Progress) -> dict[str, Any]:
    """Build a run, make one real step, and leave nothing behind; give the plan and what the step took."""
    with joined(options.devices) as world, TemporaryDirectory() as scratch:
        watcher = progress if world.is_first else Silence()
        run = wire(loaded.recipe, RunFolder(Path(scratch)), world, watcher)
        watcher.header(describe_run(run) | {"folder": "none: a dry run writes nothing"})
        for change in run.changes:
            watcher.note(change)
        batch = run.first_batch()
        begin = time.monotonic()
        loss = take_step(run, batch, 0).loss.item()
        seconds = time.monotonic() - begin
        memory = run.memory_gib()
        watcher.note(f"one step: {seconds:.2f} s, loss {loss:.4f}, peak memory {memory:.2f} GiB")
        parameters = sum(parameter.numel() for parameter in run.parameters)
        plan = run.plan.model_dump(mode="json")
        cost = {"parameters": parameters, "tokens": run.model.tokens, "flops_per_image": run.model.flops()}
        return {"plan": plan, **cost, "step_seconds": seconds, "loss": loss, "memory_gib": memory}


def resume_run(folder: RunFolder, options: Options, progress: Progress) -> Outcome | None:
    """Go on with a run exactly where its last checkpoint stands; None if it is finished already."""
    about: dict[str, Any] | None = None
    if folder.last.exists():
        content = read_checkpoint(folder.last)
        if content["state"]["finished"]:
            return None
        about = content["about"]
    with joined(options.devices) as world:
        watcher = Logged(progress, folder.write_log) if world.is_first else Silence()
        state = TrainState()
        run = wire(load_recipe(folder.resolved).recipe, folder, world, watcher, resumed=about)
        restore(run, state)
        if world.is_first:
            mark_latest(folder.path)
        with reported(run):
            return train(run, state, StopFlag(options.seconds, speaks=world.is_first))


def train(run: Run, state: TrainState, stop: StopFlag) -> Outcome:
    """Take a wired run to its end and leave its folder complete; Stopped if it was told to stop before."""
    run.journal.rewind(state.step)
    run.progress.header(describe_run(run))
    if run.world.is_first:
        run.folder.write_json("plan.json", run.plan.model_dump(mode="json"))
        run.folder.write_status("running", step=state.step, total_steps=run.plan.total_steps)
    try:
        with stop.listening():
            if run.changes and state.step == 0:
                report_start(run)
            run_loop(run, state, stop)
    finally:
        run.progress.end()
    if not state.finished:
        raise Stopped(
            f"{stop.reason} at step {state.step}; saved", f"Go on with: vit resume {run.folder.path}", stop.exit_code
        )
    if run.world.is_first:
        summary = summarise(run, state)
        run.folder.write_json("summary.json", summary)
        run.folder.write_status("finished", **summary)
    return Outcome(run, state)


def report_start(run: Run) -> None:
    """Say what fine-tuning changed, and where the kept classes stand before the first step."""
    for change in run.changes:
        run.progress.note(change)
    if any(change.startswith("head  kept") for change in run.changes):
        scores = run.evaluate().scores
        run.progress.note(
            f"before the first step at {run.about['res'][0]}x{run.about['res'][1]}: top-1 {scores['top1']:.2f} %"
        )


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
        "device": f"{plan.processes} x {describe_device(run.world.device)}, {run.precision}",
        "batch": f"{plan.batch_size} = {plan.processes} x {plan.process_batch}, in {plan.micro_batches} micro batch"
        + ("es" if plan.micro_batches > 1 else ""),
        "steps": f"{plan.total_steps} ({plan.steps_per_epoch:.4g} an epoch, {plan.epoch_at(plan.total_steps):.4g} epochs)",
        "folder": str(run.folder.path),
    }


def summarise(run: Run, state: TrainState) -> dict[str, Any]:
    """Gather the final numbers of a run."""
    return {
        "parameters": sum(parameter.numel() for parameter in run.parameters),
        "step": state.step,
        "total_steps": run.plan.total_steps,
        "epochs": round(run.plan.epoch_at(state.step), 4),
        "best_top1": state.best_top1,
        "best_step": state.best_step,
        "last": run.journal.last_row(),
        "train_seconds": round(state.seconds, 2),
        "best_checkpoint": str(run.folder.best),
        "model": str(run.folder.model),
    }


@contextmanager
def reported(run: Run) -> Iterator[None]:
    """Write into the folder how a run that does not finish ended; running out of memory gets a way out."""
    try:
        yield
    except BaseException as error:
        told = explain_memory(error, run)
        if run.world.is_first:
            reason = told.problem if isinstance(told, VitError) else f"{type(told).__name__}: {told}"
            with suppress(VitError):  # a full disk must not hide what happened
                status = "interrupted" if isinstance(told, Stopped) else "failed"
                run.folder.write_status(status, reason=reason, **last_known(run.folder))
                run.folder.write_log(reason)
        if told is error:
            raise
        raise told from error


def explain_memory(error: BaseException, run: Run) -> BaseException:
    """Turn torch's word that memory ran out into a TrainingError with smaller settings; give any other error back."""
    is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if not is_memory:
        return error
    smaller = max(run.plan.micro_batch // 2, run.plan.mix_group)
    return TrainingError(
        f"memory ran out with {run.plan.micro_batch} images at once on {describe_device(run.world.device)}",
        f"train.micro_batch={smaller} keeps the global batch of {run.plan.batch_size} and needs about half.",
    )


def last_known(folder: RunFolder) -> Mapping[str, Any]:
    """Give the step and the score that the folder's status had."""
    status = folder.read_json("status.json")
    return {key: status[key] for key in ("step", "total_steps", "best_top1") if key in status}

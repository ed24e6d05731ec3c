"""The course of a wired run: trained to its end, stopped or failed, and its folder tells which."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vit_cli.device import describe_device
from vit_cli.dist.world import World
from vit_cli.errors import Stopped, TrainingError, UsageError, VitError
from vit_cli.train.describe import describe_bad, describe_doubts, describe_run, describe_space, summarise
from vit_cli.train.folder import RunFolder
from vit_cli.train.keep import sweep
from vit_cli.train.loop import run_loop
from vit_cli.train.progress import Logged, Progress, Silence
from vit_cli.train.state import TrainState
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run

STOPPED_ELSEWHERE = "stopped with another process"


def fail_at_once(error: VitError) -> None:
    """End this process with the exit code of an error."""
    os._exit(error.exit_code)


@dataclass(frozen=True)
class Options:
    """What the command line adds to a recipe; nothing of it changes what is computed."""

    out: Path | None = None
    name: str | None = None
    overwrite: bool = False
    devices: str = "auto"
    seconds: float | None = None
    end: Callable[[VitError], None] = fail_at_once
    """Ends this process with an error from a thread beside the main one, which can't be reached where it waits."""


@dataclass(frozen=True)
class Outcome:
    """A run that ended in good order."""

    run: Run
    state: TrainState


def train(run: Run, state: TrainState, stop: StopFlag) -> Outcome:
    """Take a wired run to its end and leave its folder complete; Stopped if it was told to stop before."""
    if run.world.is_first:
        sweep(run.folder)  # before trackers begin: they write to the folder in threads of their own
    run.journal.rewind(state.step, state.judged_step)
    run.progress.header(describe_run(run))
    if run.world.is_first:
        run.folder.write_json("plan.json", run.plan.model_dump(mode="json"))
        run.folder.write_status("running", step=state.step, total_steps=run.plan.total_steps)
        for text in (*describe_doubts(run), *describe_space(run)):
            run.progress.note(text)
    with stop.saving():
        try:
            if run.changes and state.step == 0:
                report_start(run, stop)
            if not state.finished:
                run_loop(run, state, stop)
            run.writer.wait()
        finally:
            run.progress.end()
            run.journal.end(state.finished)
        run.world.barrier()  # nobody leaves, or says that all is saved, while the first still writes
        if state.finished and run.world.is_first:
            summary = summarise(run, state)
            run.folder.write_json("summary.json", summary)
            run.folder.write_status("finished", **summary)
            for text in describe_bad(run):
                run.progress.note(text)
    if not state.finished:
        raise Stopped(
            f"{stop.reason or STOPPED_ELSEWHERE} at step {state.step}; saved",
            f"Go on with: vit resume {run.folder.path}",
            stop.exit_code,
        )
    return Outcome(run, state)


def report_start(run: Run, stop: StopFlag) -> None:
    """Say and write down what fine-tuning changed, and where the kept classes stand before the first step."""
    for change in run.changes:
        run.progress.note(change)
    before = {}
    if any(change.startswith("head  kept") for change in run.changes):
        scores = run.evaluate(stop).scores
        if not run.world.any(stop.was_signalled):
            before = {run.task.main: scores[run.task.main]}
            run.progress.note(
                f"before the first step at {run.about['res'][0]}x{run.about['res'][1]}: "
                + run.task.main_score.say(scores[run.task.main])
            )
    if run.world.is_first:
        run.folder.write_json("start.json", {"changes": list(run.changes), "before": before})


@contextmanager
def reported(run: Run, state: TrainState, stop: StopFlag, end: Callable[[VitError], None]) -> Iterator[None]:
    """Write into the folder how a run that does not finish ended; running out of memory gets a way out.

    `end` ends this process with an error, at a second signal or when another process is frozen or gone.
    """

    def give_up(error: VitError) -> None:
        error.hint = f"{error.hint} Go on with: vit resume {run.folder.path}"
        write_end(run, state, error)
        end(error)

    stop.end = give_up
    try:
        with run.world.watch.on(give_up, run.progress.note, stop.ask):
            yield
    except BaseException as error:
        told = explain_memory(error, run)
        if run.world.is_first:
            write_end(run, state, told)
        if told is error:
            raise
        raise told from error


def write_end(run: Run, state: TrainState, error: BaseException) -> None:
    """Write into the folder how a run ended that did not finish."""
    reason = error.problem if isinstance(error, VitError) else f"{type(error).__name__}: {error}"
    if run.world.size > 1 and not isinstance(error, VitError) and "onnection" in reason:
        reason = "the connection to another process was lost: it ended or was killed"
    with suppress(VitError):  # a full disk must not hide what happened
        status = "interrupted" if isinstance(error, Stopped) else "failed"
        run.folder.write_status(
            status,
            reason=reason,
            step=state.step,
            total_steps=run.plan.total_steps,
            **{f"best_{run.task.main}": state.best_score},
        )
        run.folder.write_log(reason)


@contextmanager
def explaining_memory(run: Run) -> Iterator[None]:
    """Raise a TrainingError with smaller settings where memory runs out inside the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = explain_memory(error, run)
        if told is error:
            raise
        raise told from error


def explain_memory(error: BaseException, run: Run) -> BaseException:
    """Turn torch's word that memory ran out into a TrainingError with smaller settings; give any other error back."""
    is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if not is_memory:
        return error
    plan = run.plan
    smaller = plan.micro_batch // 2 // plan.mix_group * plan.mix_group
    asked = f"train.micro_batch={smaller} keeps the global batch of {plan.batch_size} and needs about half."
    if not smaller:
        asked = "train.precision=bf16, a smaller model.size or model.res, or more processes with train.shard=full need less."
    return TrainingError(
        f"memory ran out with {plan.micro_batch} images at once on {describe_device(run.world.device)}", asked
    )


def check_same(world: World, value: Any, what: str, hint: str) -> None:
    """Raise UsageError, naming a process, unless `value` is equal on all."""
    other = world.find_other(value)
    if other is not None:
        raise UsageError(f"process {other} has {what} process 0", hint)


def make_watcher(progress: Progress, folder: RunFolder, world: World) -> Progress:
    """Have the first process show and log what happens, and the others nothing."""
    return Logged(progress, folder.write_log) if world.is_first else Silence()

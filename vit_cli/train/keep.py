"""Keeping what was learned: checkpoints with the full state, and the best weights as a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from vit_cli.checkpoint.commit import point, sync
from vit_cli.checkpoint.file import read_checkpoint, write_checkpoint
from vit_cli.checkpoint.model import check_parts, check_weights, write_model
from vit_cli.dist.shard import copy_whole, part_all, part_moments
from vit_cli.errors import CheckpointError, TrainingError
from vit_cli.models.adapt import load_weights
from vit_cli.train.folder import LEFT_ASIDE, RunFolder
from vit_cli.train.state import TrainState

if TYPE_CHECKING:
    from vit_cli.train.wire import Run


def save(run: Run, state: TrainState) -> None:
    """Copy everything to host memory, and have it written while training goes on.

    Raises TrainingError, and keeps what was saved before, if a weight is not finite or the last one could not be written.
    """
    check_finite(run, state)
    run.writer.wait()  # one copy in memory at a time
    content = {
        "model": run.model.state_dict(),
        "ema": run.ema.state(),
        "optimizer": run.optimizer.state_dict(),
        "state": state.plain(),
        "about": run.about,
        "clock": {"seconds": run.clock.seconds},
    }
    copied = copy_whole(content, keeps=run.world.is_first)
    if run.world.is_first:
        run.writer.submit(partial(commit_all, run.folder, copied, run.recipe.save.keep))


def commit_all(folder: RunFolder, content: dict[str, Any], keep: int) -> None:
    """Commit a checkpoint, with the journal up to it, publish it, and remove what is too old."""
    for journal in (folder.path / "metrics.csv", folder.path / "steps.jsonl"):
        if journal.exists():
            sync(journal)
    path = folder.checkpoints / f"step-{content['state']['step']:06d}.pt"
    write_checkpoint(path, content)
    publish(folder, path, content)
    purge(folder, keep)


def publish(folder: RunFolder, path: Path, content: dict[str, Any]) -> None:
    """Export the weights of a committed checkpoint if they are the best, and point `best.pt` and `last.pt` to it.

    A process killed before the end of it leaves the checkpoint whole; who goes on from there publishes it again.
    """
    state = content["state"]
    if state["best"] is not None and state["best_step"] == state["step"]:
        write_model(folder.model, content["model"] | content["ema"], content["about"])
        point(folder.best, path)
    point(folder.last, path)


def check_finite(run: Run, state: TrainState) -> None:
    """Raise TrainingError if a weight, a statistic or an average is not finite: it must not take the place of a good one."""
    weights, statistics = [*run.parameters, *run.ema.state().values()], run.statistics.tensors()
    kinds = (weights, statistics) if statistics else (weights,)  # apart, for statistics are never in parts
    if not all(torch.stack([tensor.isfinite().all() for tensor in kind]).all().item() for kind in kinds):
        raise TrainingError(
            f"the weights are not finite after step {state.step}; they are not saved",
            "The last checkpoint is from before it. A lower optim.lr or train.clip_norm=1.0 helps most.",
        )


def beat(run: Run, state: TrainState) -> None:
    """Say in status.json that the run is alive and how far it is, at most every 10 s."""
    if run.world.is_first and run.clock.beats():
        run.folder.write_status(
            "running",
            step=state.step,
            total_steps=run.plan.total_steps,
            eta_seconds=round(run.clock.eta(run.plan.total_steps - state.step)),
            **{f"best_{run.task.main}": state.best_score},
        )


def purge(folder: RunFolder, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`, the best and the last.

    What can't be removed stays: that is no reason to end a run.
    """
    pinned = {link.resolve() for link in (folder.last, folder.best) if link.exists()}
    old = [path for path in committed(folder)[keep:] if path.resolve() not in pinned]
    for path in old:
        with suppress(OSError):
            path.unlink()


def sweep(folder: RunFolder) -> None:
    """Remove what a killed process left half written: files aside, with its number."""
    for place in (folder.path, folder.checkpoints, folder.model):
        for path in place.glob(LEFT_ASIDE):
            with suppress(OSError):
                path.unlink()


def committed(folder: RunFolder) -> list[Path]:
    """List the checkpoints of a run, the newest first."""
    found = [path for path in folder.checkpoints.glob("step-*.pt") if path.stem[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.stem[5:]), reverse=True)


class Newest(NamedTuple):
    """The newest checkpoint that can be read, and what is to be said about newer ones that can't."""

    path: Path
    content: dict[str, Any]
    notes: tuple[str, ...]


def read_newest(folder: RunFolder, resumes: bool = True) -> Newest | None:
    """Read the newest checkpoint of a run, or the one before if it is damaged, and so on; None if there is none at all.

    One that `resumes` a run has all that this takes. Raises CheckpointError if none of them can be read.
    """
    notes: list[str] = []
    for path in (paths := committed(folder)):
        try:
            content = read_checkpoint(path)
            if resumes:
                check_resumable(content, path)
        except CheckpointError as error:
            notes.append(error.problem)
            continue
        return Newest(path, content, tuple(notes))
    if paths:
        raise CheckpointError(
            f"none of the {len(paths)} checkpoints in {folder.checkpoints} can be read; the newest: {notes[0]}",
            "If they were copied here, copy them again. Without them the run starts again at step 0: remove them for that.",
        )
    return None


def check_resumable(content: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError unless a checkpoint has all that a run goes on from, with weights that are finite."""
    check_parts(content, path)
    parts = {**content, **{f"state.{key}": True for key in content.get("state", ())}}
    parts |= {f"about.{key}": True for key in content["about"]}
    needed = ["optimizer", "state", "clock", *(f"state.{field.name}" for field in fields(TrainState))]
    needed += ["about.recipe", "about.precision", "about.fingerprint", "about.val_fingerprint"]
    missing = [key for key in needed if key not in parts]
    if missing:
        raise CheckpointError(
            f"{path} can't be resumed: it lacks {', '.join(missing[:4])}",
            "An older vit made it, perhaps. It still evaluates, and vit finetune trains its weights further.",
        )
    for part in ("model", "ema"):
        check_weights(content[part], path)


def restore(run: Run, state: TrainState, content: Mapping[str, Any]) -> None:
    """Load a checkpoint of this run into its model, averages, optimiser and state."""
    load_weights(run.model, part_all(content["model"], run.model.state_dict()))
    run.ema.load(part_all(content["ema"], run.ema.state()))
    try:
        run.optimizer.load_state_dict(part_moments(content["optimizer"], run.optimizer))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the moments in the checkpoint are not those of {run.recipe.optim.name}") from error
    run.clock.before = content["clock"]["seconds"]
    state.restore(content["state"])

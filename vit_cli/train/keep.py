"""Keeping what was learned: checkpoints with the full state, and the best weights as a model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from vit_cli.checkpoint.commit import point
from vit_cli.checkpoint.file import read_checkpoint, write_checkpoint
from vit_cli.checkpoint.model import write_model
from vit_cli.errors import CheckpointError, TrainingError
from vit_cli.models.adapt import load_weights
from vit_cli.train.folder import RunFolder
from vit_cli.train.state import TrainState

if TYPE_CHECKING:
    from vit_cli.train.wire import Run


def save(run: Run, state: TrainState) -> None:
    """Commit a checkpoint, export the best weights, point `best.pt` and `last.pt`, and remove what is too old.

    `last.pt` moves at the end: a run killed before that does the same once more. Raises TrainingError, and keeps what was
    saved before, if a weight is not finite.
    """
    check_finite(run, state)
    if not run.world.is_first:
        return
    state.seconds += run.clock.lap()
    path = run.folder.checkpoints / f"step-{state.step:06d}.pt"
    weights, averages = run.model.state_dict(), run.ema.state()
    write_checkpoint(
        path,
        {
            "model": weights,
            "ema": averages,
            "optimizer": run.optimizer.state_dict(),
            "state": state.plain(),
            "about": run.about,
        },
    )
    if state.best is not None and state.best_step == state.step:
        write_model(run.folder.model, weights | averages, run.about)
        point(run.folder.best, path)
    point(run.folder.last, path)
    purge(run.folder, run.recipe.save.keep)


def check_finite(run: Run, state: TrainState) -> None:
    """Raise TrainingError if a weight or an average is not finite: it must not take the place of a good one."""
    tensors = [*run.parameters, *run.ema.state().values()]
    if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all().item():
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
            best_top1=state.best_top1,
            eta_seconds=round(run.clock.eta(run.plan.total_steps - state.step)),
        )


def purge(folder: RunFolder, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`, the best and the last, and what a killed process left half written."""
    for orphan in folder.checkpoints.glob(".step-*"):
        orphan.unlink(missing_ok=True)
    pinned = {link.resolve() for link in (folder.last, folder.best) if link.exists()}
    by_step = sorted(folder.checkpoints.glob("step-*.pt"), key=lambda path: int(path.stem[5:]), reverse=True)
    for old in by_step[keep:]:
        if old.resolve() not in pinned:
            old.unlink(missing_ok=True)


def restore(run: Run, state: TrainState) -> None:
    """Load the run's last checkpoint into its model, averages, optimiser and state; a run without one starts at step 0."""
    if not run.folder.last.exists():
        return
    content: dict[str, Any] = read_checkpoint(run.folder.last)
    changed = [key for key in ("recipe", "class_names", "held", "images") if content["about"][key] != run.about[key]]
    if changed:
        raise CheckpointError(
            f"{run.folder.last} belongs to another run: {', '.join(changed)} differ",
            "To train these weights with another recipe or other data: vit finetune.",
        )
    load_weights(run.model, content["model"])
    run.ema.load(content["ema"])
    run.optimizer.load_state_dict(content["optimizer"])
    state.restore(content["state"])

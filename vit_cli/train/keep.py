"""Keeping what was learned: checkpoints with the full state, and the best weights as a model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vit_cli.checkpoint import point, read_checkpoint, write_checkpoint, write_model
from vit_cli.errors import CheckpointError
from vit_cli.models.adapt import load_weights
from vit_cli.train.folder import RunFolder
from vit_cli.train.state import TrainState

if TYPE_CHECKING:
    from vit_cli.train.wire import Run


def save(run: Run, state: TrainState) -> None:
    """Commit a checkpoint, point `last.pt` (and `best.pt`) to it, export the best weights, and remove what is too old."""
    if not run.world.is_first:
        return
    state.seconds += run.clock.lap()
    path = run.folder.checkpoints / f"step-{state.step:06d}.pt"
    write_checkpoint(
        path,
        {
            "model": run.model.state_dict(),
            "ema": run.ema.state(),
            "optimizer": run.optimizer.state_dict(),
            "state": state.plain(),
            "about": run.about,
        },
    )
    point(run.folder.last, path)
    if state.best is not None and state.best_step == state.step:
        point(run.folder.best, path)
        write_model(run.folder.model, run.model.state_dict() | run.ema.state(), run.about)
    purge(run.folder, run.recipe.save.keep)
    run.folder.write_status("running", step=state.step, total_steps=run.plan.total_steps, best_top1=state.best_top1)


def purge(folder: RunFolder, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`, the best and the last."""
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
    changed = [key for key in ("recipe", "class_names", "held") if content["about"][key] != run.about[key]]
    if changed:
        raise CheckpointError(
            f"{run.folder.last} belongs to another run: {', '.join(changed)} differ",
            "To train these weights with another recipe or other data: vit finetune.",
        )
    load_weights(run.model, content["model"])
    run.ema.load(content["ema"])
    run.optimizer.load_state_dict(content["optimizer"])
    state.restore(content["state"])

"""What the steps said: losses, broken images, numbers that are not finite, a wish to stop; read when it is ready."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from vit_cli.data.bad import Bad
from vit_cli.data.batch import Batch
from vit_cli.device import fetch
from vit_cli.errors import TrainingError
from vit_cli.train.keep import beat
from vit_cli.train.state import TrainState
from vit_cli.train.step import StepResult

if TYPE_CHECKING:
    from vit_cli.train.wire import Run


class Said(NamedTuple):
    """What is kept of a step until its flags have reached the host."""

    step: int
    loss: Tensor
    grad_norm: Tensor
    flags: Callable[[], list[float]]
    bad: tuple[Bad, ...]


class Ear:
    """Hears what the steps said without making one wait: on a GPU a step's flags are read while the next one runs.

    All processes hear the same, in the same step, so what they do about it is the same without another word.
    """

    def __init__(self, run: Run, state: TrainState) -> None:
        self.run = run
        self.state = state
        self.lag = 1 if run.world.device.type == "cuda" else 0
        self.unheard: deque[Said] = deque()
        self.losses: list[Tensor] = []
        self.norm = torch.zeros(())

    def note(self, batch: Batch, result: StepResult) -> None:
        """Take the result of a step, before `state.step` counts it."""
        self.losses.append(result.loss)
        self.norm = result.grad_norm
        self.unheard.append(Said(self.state.step, result.loss, result.grad_norm, fetch(result.flags), batch.bad))

    def listen(self, all_of_it: bool) -> bool:
        """Hear the steps whose flags are ready, or all, and then their losses; tell whether to stop.

        Raises TrainingError after more steps than allowed that were not finite, DataError for too many broken images.
        """
        stopping = False
        while len(self.unheard) > (0 if all_of_it or stopping else self.lag):
            stopping |= self.hear(self.unheard.popleft())
        if all_of_it or stopping:
            self.hear_losses()
        return stopping

    def hear(self, said: Said) -> bool:
        """Do what the flags of one step ask for; tell whether to stop."""
        is_bad, stopping, found_broken = map(bool, said.flags())
        if found_broken:
            self.run.bad_images.record([bad for part in self.run.world.gather(said.bad) for bad in part])
        if is_bad:
            self.skip(said)
        else:
            self.state.skipped_in_a_row = 0
        return stopping

    def skip(self, said: Said) -> None:
        """Write down a step that changed nothing because it was not finite. Raises TrainingError if that is one too many."""
        run, state = self.run, self.state
        state.skipped += 1
        state.skipped_in_a_row += 1
        facts = describe_step(run, said)
        run.journal.add_nonfinite(facts)
        where = [part["rank"] for part in facts["ranks"] if part["loss"] is None]
        what = (
            f"the loss is not finite on process {', '.join(map(str, where))}" if where else "the gradient is not finite"
        )
        problem = f"{what} in step {said.step + 1}"
        if state.skipped_in_a_row > run.recipe.train.max_nonfinite:
            raise TrainingError(
                f"{problem}; the weights are as they were before it",
                f"Its images are in {run.journal.nonfinite}. To skip such steps: vit resume {run.folder.path} "
                f"train.max_nonfinite={2 * state.skipped_in_a_row + 1}. If they go on, start a new run with a lower optim.lr.",
            )
        run.progress.note(f"{problem}; skipped, {state.skipped_in_a_row} in a row")

    def hear_losses(self) -> None:
        """Read the losses since the last time, and write a line to steps.jsonl if one is due."""
        run, state = self.run, self.state
        losses = run.world.mean(torch.stack(self.losses).double()).tolist()
        grad_norm = self.norm.item()
        self.losses.clear()
        finite = [loss for loss in losses if math.isfinite(loss)]
        state.loss_total += sum(finite)
        state.loss_steps += len(finite)
        if not run.plan.logs_at(state.step):
            return
        run.journal.add_step(
            step=state.step,
            epoch=round(run.plan.epoch_at(state.step), 4),
            loss=or_none(losses[-1]),
            lr=run.plan.lr_at(state.step - 1),
            grad_norm=or_none(grad_norm),
            images_per_second=round(run.clock.images_per_second, 2),
            wait=round(run.clock.wait, 4),
        )
        beat(run, state)


def describe_step(run: Run, said: Said) -> dict[str, Any]:
    """Say all that is needed to make a step again: its images, with the keys of their augmentation, and its seed."""
    losses = run.world.gather(said.loss.item())
    share = run.plan.process_batch
    draws = [run.input.order.draws(said.step, rank * share, (rank + 1) * share) for rank in range(run.world.size)]
    return {
        "step": said.step + 1,
        "seed": run.recipe.seed,
        "grad_norm": or_none(said.grad_norm.item()),
        "ranks": [
            {"rank": rank, "loss": or_none(loss), "indices": drawn.indices.tolist(), "epochs": drawn.epochs.tolist()}
            for rank, (loss, drawn) in enumerate(zip(losses, draws, strict=True))
        ],
    }


def or_none(value: float) -> float | None:
    """Give None for what JSON can't say."""
    return value if math.isfinite(value) else None

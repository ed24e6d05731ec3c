"""One update of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vit_cli.data.loader import Batch
from vit_cli.device import autocast, seed_all
from vit_cli.optim.groups import set_lr

if TYPE_CHECKING:
    from vit_cli.train.wire import Run


class StepResult(NamedTuple):
    """Mean loss over the global batch's share on this process, and the norm of the gradient; both stay on the device."""

    loss: Tensor
    grad_norm: Tensor


def take_step(run: Run, batch: Batch, step: int) -> StepResult:
    """Make update number `step` (from 0) from this process's part of a global batch, in micro batches."""
    plan, world = run.plan, run.world
    batch = batch.to(world.device)
    total = torch.zeros((), device=world.device)
    starts = range(0, plan.process_batch, plan.micro_batch)
    for number, start in enumerate(starts):
        part = slice(start, start + plan.micro_batch)
        seed_all(run.recipe.seed, step, world.rank, number)
        images, targets = run.mixer(
            run.prepare(batch.images[part]), batch.labels[part], step, world.rank * plan.process_batch + start
        )
        with world.hold_back(run.wrapped, held=number + 1 < len(starts)):
            with autocast(world.device, run.precision):
                logits = run.wrapped(images)
            loss = run.loss(logits, targets).sum() / plan.process_batch
            loss.backward()
        total += loss.detach()
    total += run.penalty()
    grad_norm = run.clip(run.parameters)
    set_lr(run.optimizer, plan.lr_at(step))
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.ema.update(step)
    return StepResult(total, grad_norm)

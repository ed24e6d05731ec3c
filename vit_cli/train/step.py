"""One update of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vit_cli.data.batch import Batch
from vit_cli.device import seed_all, send
from vit_cli.dist.shard import update, whole
from vit_cli.optim.groups import set_lr
from vit_cli.train.stop import StopFlag

if TYPE_CHECKING:
    from vit_cli.train.wire import Run


class StepResult(NamedTuple):
    """What a step found; all of it stays on the device.

    `loss` () is the mean over this process's share of the batch, `grad_norm` () that of the whole batch's gradient.
    `flags` are equal on all processes: the first is 1 if a loss or the gradient was not finite anywhere, and so nothing
    was updated; the second that a process was asked to stop, the third that one met a broken image.
    """

    loss: Tensor
    grad_norm: Tensor
    flags: Tensor


def take_step(run: Run, batch: Batch, step: int, stop: StopFlag) -> StepResult:
    """Make update number `step` (from 0) from this process's part of a global batch, in micro batches."""
    plan, world = run.plan, run.world
    batch = run.input.finish(batch.to(world.device))
    run.statistics.keep()
    run.dropping.enter(step)
    total = torch.zeros((), device=world.device)
    for number in range(plan.micro_batches):
        images, targets = draw(run, batch, step, number)
        with world.hold_back(run.wrapped, held=number + 1 < plan.micro_batches):
            total += learn(run, images, targets)
    told = send((stop.is_set, bool(batch.bad)), world.device)  # as late as can be, for this step to be the last
    set_lr(run.optimizer, plan.lr_at(step))
    return conclude(run, total, told, run.ema.weight_at(step))


def draw(run: Run, batch: Batch, step: int, number: int) -> tuple[Tensor, Tensor]:
    """Give the images and targets of a micro batch, mixed, and seed what is drawn while the model learns from them."""
    plan, rank = run.plan, run.world.rank
    start = number * plan.micro_batch
    part = slice(start, start + plan.micro_batch)
    seed_all(run.recipe.seed, step, rank, number)
    return run.mixer(run.prepare(batch.images[part]), batch.labels[part], step, rank * plan.process_batch + start)


def learn(run: Run, images: Tensor, targets: Tensor) -> Tensor:
    """Add the gradients of a micro batch; give its share of the mean loss ()."""
    loss = run.objective(images, targets).sum() / run.plan.process_batch
    loss.backward()
    return loss.detach()


def conclude(run: Run, total: Tensor, told: Tensor, ema_weight: float | Tensor) -> StepResult:
    """Update everything from the gradients, or nothing if they or the loss `total` () are not finite; empty them.

    All of it happens on the device. `told` (2,) says whether this process was asked to stop and met a broken image.
    """
    total += whole(run.penalty())
    grad_norm = whole(run.clip(run.parameters))
    is_bad = ~(total.isfinite() & grad_norm.isfinite())
    flags = run.world.max(torch.cat([is_bad.float().reshape(1), told]))
    run.optimizer.found_inf = flags[0]  # torch's optimisers look at it on the device, and leave everything as it was
    update(run.optimizer)
    run.optimizer.zero_grad(set_to_none=True)
    run.statistics.settle(skipped=flags[0])
    run.ema.update(ema_weight, flags[0])
    return StepResult(total, grad_norm, flags)


def rehearse(run: Run) -> None:
    """Go forwards and backwards once on whole images, without an update, if there are several processes, or phases.

    DDP orders its buckets by its first pass backwards, and with four processes and more the order decides the last bit
    of a sum. So a resumed run would differ from an undisturbed one; after a rehearsal both start with the final order.
    And where memory is too small for what comes after the phases, the run fails at its start, not when it gets there.
    """
    if run.world.size == 1 and not run.recipe.train.phases:
        return
    rows, columns = run.about["res"]
    images = torch.zeros(run.plan.micro_batch, 3, rows, columns, device=run.world.device)
    run.statistics.keep()
    run.objective.ask(images).float().sum().backward()
    run.optimizer.zero_grad(set_to_none=True)
    run.statistics.settle(skipped=torch.ones((), device=run.world.device))

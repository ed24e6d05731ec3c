"""A few real steps of a run that leaves nothing behind: what the whole of it will take, in time and in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import count, islice
from math import ceil
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vit_cli.data.batch import Batch
from vit_cli.dist.shard import own_part
from vit_cli.recipe.plan import exact_steps
from vit_cli.section import as_grid
from vit_cli.train.describe import count_train_flops
from vit_cli.train.measure import KeptBytes, time_calls
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run

TRIAL_SECONDS = 5.0
"""About so long for the steps that count."""
FORWARD_SHARE = 1 / 3
"""What an image takes in an evaluation, of what it takes in training: forward is a third of the products."""
GIB = 2**30


class Trial(NamedTuple):
    """What the first steps of a run took; `making_seconds` is how long one process makes a batch."""

    loss: float
    step_seconds: float
    making_seconds: float
    activation_bytes: int


def make_trial(run: Run, seconds: float = TRIAL_SECONDS) -> Trial:
    """Make some steps of a run from its real batches: one to warm up, then as many as about so many seconds hold.

    They are the first, or the first after the last of the recipe's phases, which are cheaper than what comes after them.
    """
    first = run.plan.phases[-2].until_step if len(run.plan.phases) > 1 else 0
    stop, numbers = StopFlag(), count(first)
    making: list[float] = []

    def step(batch: Batch) -> Tensor:
        return run.take_step(run, batch, next(numbers), stop).loss

    def noted(batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        for batch in batches:
            making.append(sum(batch.seconds))
            yield batch

    with closing(noted(run.input.batches(first))) as source:
        begin = time.monotonic()
        measure = measure_allocated if run.world.device.type == "cuda" else measure_kept
        loss, activation_bytes = measure(run, step, source)
        first_seconds = time.monotonic() - begin
        timing = time_calls(step, source, run.world, seconds)
    return Trial(loss, timing.median if timing.seconds else first_seconds, median(making), activation_bytes)


def measure_kept(run: Run, step: Callable[[Batch], Tensor], source: Iterator[Batch]) -> tuple[float, int]:
    """Make a step; give its loss, and the most bytes that the graph kept for its backward pass at any moment."""
    kept = KeptBytes([*map(own_part, run.parameters), *run.model.buffers()])
    with kept.counting():
        loss = step(next(source)).item()
    return loss, kept.peak


def measure_allocated(run: Run, step: Callable[[Batch], Tensor], source: Iterator[Batch]) -> tuple[float, int]:
    """Make two steps on a GPU; give the loss of the first, and what the second took beside all that stays.

    That is the allocator's peak less what lay there before it: weights, moments and averages, which the first step made.
    The gradients of the micro batches before are no activations either; with one micro batch there are none at the peak.
    """
    device, losses, before = run.world.device, list[float](), 0
    for batch in islice(source, 2):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        losses.append(step(batch).item())
    gradients = count_bytes(run.parameters) if run.plan.micro_batches > 1 else 0
    return losses[0], max(torch.cuda.max_memory_allocated(device) - before - gradients, 0)


def describe_cost(run: Run) -> dict[str, int]:
    """Count the model's parameters, and an image's operations; in training the teacher's answer is among them."""
    res = as_grid(run.recipe.model.res)
    return {
        "parameters": sum(parameter.numel() for parameter in run.parameters),
        "tokens": run.model.tokens,
        "flops_per_image": run.model.flops(),
        "training_flops_per_image": run.model.training_flops() + run.objective.extra_flops(res),
    }


def describe_trial(run: Run, trial: Trial) -> dict[str, Any]:
    """Give what a trial tells of the whole run, in plain values; `--dry-run --json` promises these keys."""
    size, each = run.plan.batch_size, with_data(run, trial.step_seconds, trial.making_seconds)
    return {
        "loss": trial.loss,
        "step_seconds": trial.step_seconds,
        "images_per_second": size / trial.step_seconds,
        "images_per_second_with_data": size / each,
        "memory_gib": run.memory_gib(),
        "state_gib": count_state(run) / GIB,
        "activation_gib": trial.activation_bytes / GIB,
        "evaluations": count_evaluations(run),
        "estimated_seconds": estimate_seconds(run, trial),
    }


def with_data(run: Run, seconds: float, making_seconds: float) -> float:
    """Give how long a step takes with its batch: workers make the next ones meanwhile, without them it has to wait."""
    workers = run.input.workers
    return max(seconds, making_seconds / workers) if workers else seconds + making_seconds


def estimate_seconds(run: Run, trial: Trial) -> float:
    """Guess how long the whole run takes, with its evaluations, in which images are as quickly made as in training.

    Steps of cheaper phases are taken to be shorter by what they compute less.
    """
    plan, making = run.plan, trial.making_seconds
    flops, plain = count_train_flops(run)
    training = plan.total_steps * with_data(run, trial.step_seconds * flops / plain, making)
    batches = count_evaluations(run) * len(run.splits.val) / plan.batch_size
    return training + batches * with_data(run, trial.step_seconds * FORWARD_SHARE, making)


def count_evaluations(run: Run) -> int:
    """Count the evaluations of the whole run: at the end of every interval, and at the end."""
    plan = run.plan
    length = exact_steps(plan.eval_every, Fraction(plan.images, plan.batch_size), plan.total_steps)
    return ceil(plan.total_steps / length)


def count_state(run: Run) -> int:
    """Count the bytes of weights, gradients, moments and averages on this process."""
    moments = [value for state in run.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return 2 * count_bytes(run.parameters) + count_bytes(moments) + count_bytes(run.ema.state().values())


def count_bytes(tensors: Iterable[Tensor]) -> int:
    """Count the bytes of tensors on this process."""
    return sum(own_part(tensor).nbytes for tensor in tensors)

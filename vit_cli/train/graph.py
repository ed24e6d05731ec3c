"""A whole step as one CUDA graph: for small batches, where a GPU waits for the host to start its kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vit_cli.data.batch import Batch
from vit_cli.device import send
from vit_cli.dist.world import World
from vit_cli.errors import RecipeError, TrainingError
from vit_cli.optim.groups import set_lr
from vit_cli.recipe.plan import Plan
from vit_cli.recipe.schema import Recipe
from vit_cli.train.step import StepResult, conclude, draw, learn, take_step
from vit_cli.train.stop import StopFlag

if TYPE_CHECKING:
    from vit_cli.train.wire import Run

Step = Callable[["Run", Batch, int, StopFlag], StepResult]
PLAIN_STEPS = 3
"""Steps before the capture: libraries make their plans and working memory in them, the optimiser its moments."""


def choose_step(recipe: Recipe, plan: Plan, world: World) -> Step:
    """Give the step as it is, or as a graph if `train.graph` is on; RecipeError, with the reason, where that can't be.

    What can't be on any device, `vit_cli.recipe.check` has refused.
    """
    if recipe.train.graph != "on":
        return take_step
    reasons = {
        f"needs a CUDA device, and this is {world.device.type}": world.device.type != "cuda",
        f"is for one process, and there are {world.size}": world.size > 1,
        f"needs the batch in one piece, and there are {plan.micro_batches} micro batches": plan.micro_batches > 1,
    }
    for reason, holds in reasons.items():
        if holds:
            raise RecipeError(f"train.graph: on {reason}", "Set train.graph to off.")
    return GraphedStep()


class GraphedStep:
    """Does what `take_step` does with one launch: everything from the images on the device to the averaged weights.

    What differs from step to step is copied into tensors that stay where they are, then the recorded kernels run on
    them again. The first steps run without the graph, but through the same operations on the same stream, so that a run
    ends the same wherever it was stopped. The learning rate is rounded to float32: that is all that `take_step` does
    otherwise. What is drawn is equal: torch's generator takes seed and offset from the host at every replay, `draw` sets
    both (an offset of 0) just before, and a graph's draws count from there in the order of their recording.
    """

    def __init__(self) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self.plain_steps = 0

    def __call__(self, run: Run, batch: Batch, step: int, stop: StopFlag) -> StepResult:
        """Make update number `step`; the result is the caller's own, the next replay does not change it."""
        device = run.world.device
        images, targets = draw(run, run.input.finish(batch.to(device)), step, 0)
        set_lr(run.optimizer, run.plan.lr_at(step))
        rates = [group["lr"] for group in run.optimizer.param_groups]
        numbers = send((stop.is_set, bool(batch.bad), run.ema.weight_at(step), *rates), device)
        if self.graph is None:
            return self.go_plainly(run, images, targets, numbers)
        for static, new in zip((self.images, self.targets, self.numbers), (images, targets, numbers), strict=True):
            static.copy_(new)
        self.graph.replay()
        return StepResult(*(value.clone() for value in self.result))

    def go_plainly(self, run: Run, images: Tensor, targets: Tensor, numbers: Tensor) -> StepResult:
        """Take one of the first steps on the stream that the graph is recorded on; after the last of them record it."""
        if self.plain_steps == 0:
            self.stream = torch.cuda.Stream()
        with following(self.stream):
            result = update_all(run, images, targets, numbers, is_captured=False)
        self.plain_steps += 1
        if self.plain_steps == PLAIN_STEPS:
            self.images, self.targets, self.numbers = images.clone(), targets.clone(), numbers.clone()
            self.record(run)
        return result

    def record(self, run: Run) -> None:
        """Record the graph of a step, which computes nothing yet. Raises TrainingError if it holds what can't be recorded."""
        graph = torch.cuda.CUDAGraph()
        try:  # other threads, which pin batches and write checkpoints, may call CUDA meanwhile
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.result = update_all(run, self.images, self.targets, self.numbers, is_captured=True)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            problem = str(error).partition("\n")[0]
            raise TrainingError(
                f"a step of this model can't be a CUDA graph: {problem}", "Set train.graph=off."
            ) from error
        self.graph = graph


@contextmanager
def following(stream: torch.cuda.Stream) -> Iterator[None]:
    """Run the block on another stream, after what was asked of this one before it, and before what comes after it."""
    here = torch.cuda.current_stream()
    stream.wait_stream(here)
    with torch.cuda.stream(stream):
        yield
    here.wait_stream(stream)


def update_all(run: Run, images: Tensor, targets: Tensor, numbers: Tensor, *, is_captured: bool) -> StepResult:
    """Make an update from tensors alone; `numbers` are the two told flags, the weight in the EMA, the groups' rates.

    Afterwards the optimiser has numbers for rates again, as a checkpoint shall have them.
    """
    groups = run.optimizer.param_groups
    rates = [group["lr"] for group in groups]
    for group, rate in zip(groups, numbers[3:].unbind(), strict=True):
        group.update(lr=rate, capturable=is_captured)  # torch warns of capturable where nothing is captured
    try:
        run.statistics.keep()
        return conclude(run, learn(run, images, targets), numbers[:2], numbers[2])
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group.update(lr=rate, capturable=False)

"""`train.micro_batch: auto`: the largest micro batch that fits into memory, found once before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vit_cli.data.cache import free_memory
from vit_cli.device import describe_device
from vit_cli.dist.shard import is_sharded
from vit_cli.dist.world import World
from vit_cli.errors import TrainingError
from vit_cli.models.classifier import Classifier
from vit_cli.recipe.plan import Plan
from vit_cli.recipe.schema import Recipe
from vit_cli.section import Grid, as_grid
from vit_cli.train.objective import Objective

MARGIN = 0.06
"""Share of a GPU's memory that stays free in a trial: for evaluations, other kernels, and gaps between the pieces."""
SHARES = {"none": 0.5, "mlp": 0.4, "blocks": 0.15}
"""Share of the free memory that an estimate may take: it does not count what a backward pass needs at its peak, nor what
it works out again there, by `train.recompute`: one whole block, where all others left little."""
MOMENTS = 2
"""Copies of the weights that an optimiser keeps, at most."""


@dataclass(frozen=True)
class Trial:
    """What a process trains, before anything is wrapped around it: enough to see how much memory so many images take.

    `outputs` are the classes or targets.
    """

    recipe: Recipe
    model: Classifier
    objective: Objective
    world: World
    outputs: int

    @property
    def res(self) -> Grid:
        """The images' rows and columns."""
        return as_grid(self.recipe.model.res)

    @property
    def copies(self) -> int:
        """So many times the weights will be kept, beside gradients, once training has begun: DDP keeps one for its sums."""
        return MOMENTS + (self.recipe.train.ema is not None) + (self.world.size > 1)

    def learn_from(self, size: int) -> Tensor:
        """Go forwards with `size` images and give the loss () to go backwards from."""
        shape = (2, size, 3, *self.res)  # normalised, and mixed
        images = torch.zeros(shape, device=self.world.device)
        targets = torch.zeros(size, self.outputs, device=self.world.device)
        return self.objective(images[0], targets).sum()

    def attempt(self, size: int, plan: Plan, margin: int) -> None:
        """Do what the passes of a step do, beside all that training keeps and `margin` bytes; torch.OutOfMemoryError."""
        device = self.world.device
        self.model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()  # of what the last attempt left
        beside = [torch.empty(margin, dtype=torch.uint8, device=device)]
        beside += [torch.empty_like(weight) for weight in self.model.parameters() for _ in range(self.copies)]
        batch = (2, plan.process_batch, 3, *self.res)  # as it came, and augmented
        beside.append(torch.empty(batch, dtype=torch.uint8, device=device))
        for _ in range(1 if size == plan.process_batch else 2):  # the second micro batch meets gradients
            self.learn_from(size).backward()

    def growth(self, size: int) -> float:
        """Measure the bytes by which each image adds to what is kept for the backward pass, with `size` and twice as many."""
        return (self.count_kept(2 * size) - self.count_kept(size)) / size

    def count_kept(self, size: int) -> int:
        """Count the bytes that a forward pass of `size` images keeps for the backward pass, which follows."""
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            memory = tensor.untyped_storage()
            kept[memory.data_ptr()] = memory.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self.learn_from(size).backward()  # FSDP expects one after each forward pass
        return sum(kept.values())

    def room(self, plan: Plan) -> float:
        """Estimate the bytes that a micro batch may take on this process, beside what training keeps."""
        device, parts = self.world.device, self.world.size if is_sharded(self.model) else 1
        weights = sum(weight.nbytes for weight in self.model.parameters()) / parts
        batch = 2 * plan.process_batch * 3 * self.res.rows * self.res.columns
        free = free_on_gpu(device) if device.type == "cuda" else free_memory() / self.world.size
        return SHARES[self.recipe.train.recompute] * free - (self.copies + 1) * weights - batch


def find_micro_batch(plan: Plan, trial: Trial, before: Mapping[str, Any] | None) -> int | None:
    """Give the most images, of a process's share, half of it, a quarter, ..., that every process can take at once.

    None where the recipe does not ask for it. A run that goes on keeps the number that it found `before`, for dropout
    depends on it. On a GPU the sizes are tried, from the largest down. On a CPU, where a trial that fails may take the
    machine with it, and for models in parts, where one process would leave the others waiting, the number follows from
    how much two small forward passes keep. Raises TrainingError if not even the smallest fits on a GPU.
    """
    if trial.recipe.train.micro_batch != "auto":
        return None
    if before and before["recipe"]["train"].get("micro_batch") == "auto" and "micro_batch" in before:
        found: int = before["micro_batch"]
        return found
    sizes = halve(plan.process_batch, plan.mix_group)
    device = trial.world.device
    with undisturbed(trial.model):
        if device.type == "cuda" and not is_sharded(trial.model):
            margin = int(MARGIN * torch.cuda.mem_get_info(device)[1])
            fitting = try_all(sizes, lambda size: trial.attempt(size, plan, margin))
        else:
            fitting = choose(sizes, trial.growth(max(plan.mix_group, 2)), trial.room(plan))
    smallest: int = min(trial.world.gather(fitting))
    if not smallest:
        raise TrainingError(
            f"memory ran out with {sizes[-1]} images at once on {describe_device(device)}",
            "train.precision=bf16, a smaller model.size or model.res, or more processes with train.shard=full need less.",
        )
    return smallest


def halve(size: int, group: int) -> list[int]:
    """Give `size`, half of it, and so on, each in whole groups: 96, 48, 24, 12, 6, 2 in groups of 2."""
    sizes = [size]
    while half := sizes[-1] // 2 // group * group:
        sizes.append(half)
    return sizes


def try_all(sizes: Sequence[int], attempt: Callable[[int], None]) -> int:
    """Give the first of `sizes` that `attempt` has memory for, 0 if there is none."""
    return next((size for size in sizes if fits(size, attempt)), 0)


def fits(size: int, attempt: Callable[[int], None]) -> bool:
    """Tell whether an attempt has memory enough; what it took is free again, also what an error holds on to."""
    try:
        attempt(size)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "ALLOC_FAILED" not in str(error):  # cuDNN, cuBLAS
            raise
        return False
    return True


def choose(sizes: Sequence[int], growth: float, room: float) -> int:
    """Give the first of `sizes` for which there is room, the last if there is none."""
    return next((size for size in sizes if size * growth <= room), sizes[-1])


def free_on_gpu(device: torch.device) -> int:
    """Count the bytes of a GPU that nobody uses, with those that torch has set aside."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@contextmanager
def undisturbed(model: Classifier) -> Iterator[None]:
    """Let the block go through a model, and leave its running statistics, gradients and peak memory as they were: none."""
    buffers = [buffer.clone() for buffer in model.buffers()]
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        for buffer, kept in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(kept)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

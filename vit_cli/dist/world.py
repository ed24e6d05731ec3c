"""The processes that train together, as the rest of the program sees them."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vit_cli.device import choose_device
from vit_cli.dist.orphan import ending_with_launcher
from vit_cli.dist.place import Place, find_meeting_point, find_place
from vit_cli.dist.shard import is_sharded, shard_model
from vit_cli.dist.watch import Unwatched, Watch
from vit_cli.errors import TrainingError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""The longest that processes wait for each other in a sum, while all of them are alive; a silent one ends this sooner."""


@dataclass(frozen=True)
class World:
    """The processes that train together: this one's number, how many there are, and its device."""

    rank: int
    size: int
    device: torch.device
    watch: Watch | Unwatched = field(default_factory=Unwatched, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Make `model` average its gradients over all processes."""
        if self.size == 1 or is_sharded(model):
            return model
        # Gradients of class tokens are slices with gaps, kernels may lie channels last: all are copied into the buckets.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        parallel = nn.parallel.DistributedDataParallel
        # Buffers are fixed, or train/statistics.py brings them together. torch 2.15 gave the argument a new name.
        new = "forward_sync_buffers" in inspect.signature(parallel).parameters
        return parallel(
            model, gradient_as_bucket_view=True, **{"forward_sync_buffers" if new else "broadcast_buffers": False}
        )

    def shard(self, model: nn.Module) -> None:
        """Leave to this process its part of `model`, if there are several; before anything looks at its parameters."""
        if self.size > 1:
            shard_model(model)

    def hold_back(self, model: nn.Module, held: bool) -> AbstractContextManager[Any]:
        """Keep gradients on this process for now, because another micro batch follows."""
        if not held or self.size == 1 or is_sharded(model):  # parts exist to save memory: no gradient is kept whole
            return nullcontext()
        return model.no_sync()

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up `tensor` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: Any) -> list[Any]:
        """Collect a plain value of every process, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def collect(self, value: Any) -> list[Any]:
        """Give the first process a plain value of every process, in order of rank, and the others nothing."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        dist.gather_object(value, values)
        return values or []

    def share(self, value: Any) -> Any:
        """Give every process the first one's plain value."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def mean(self, tensor: Tensor) -> Tensor:
        """Average `tensor` over all processes, in place."""
        return self.sum(tensor).div_(self.size)

    def max(self, tensor: Tensor) -> Tensor:
        """Take the largest of each element over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def any(self, claim: bool) -> bool:
        """Tell whether a claim holds on any process."""
        return bool(self.max(torch.tensor(claim, dtype=torch.float32, device=self.device)).item())

    def find_other(self, value: Any) -> int | None:
        """Give the first process whose plain value differs from that of process 0, if there is one."""
        values = self.gather(value)
        return next((rank for rank, other in enumerate(values) if other != values[0]), None)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the group of processes."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join_world(devices: str = "auto") -> World:
    """Join the processes that a launcher such as torchrun or Slurm's srun has started, or be the only one.

    Raises TrainingError if they do not all come within five minutes (VIT_JOIN_SECONDS in the environment changes it).
    """
    place = find_place()
    device = choose_device(devices, place.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if place.size == 1 or dist.is_initialized():
        return World(place.rank, place.size, device, Unwatched())
    with ending_with_launcher():
        watch = meet(place, device)
    return World(place.rank, place.size, device, watch)


def meet(place: Place, device: torch.device) -> Watch:
    """Meet the other processes; give what will watch over them. Raises TrainingError if not all of them come."""
    os.environ |= find_meeting_point()
    seconds = float(os.environ.get("VIT_JOIN_SECONDS", "300"))
    try:
        store, _, _ = next(dist.rendezvous("env://", place.rank, place.size, timeout=timedelta(seconds=seconds)))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"attempt_{attempt}", store)  # torchrun's store outlives a group that it restarts
        watch = Watch(store.clone(), place.rank, place.size)
        store.wait(watch.keys, timedelta(seconds=seconds))
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.size,
            timeout=COLLECTIVE_TIMEOUT,
        )
        dist.barrier()
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrainingError(
            f"process {place.rank} of {place.size} did not meet the others at {where} within {seconds:.0f} s",
            "Were all of them started, is the address that of the first machine, and its port free? "
            + str(error).partition("\n")[0][:160],
        ) from error
    return watch


@contextmanager
def joined(devices: str) -> Iterator[World]:
    """Be one of the processes that work together for the block, and end it together."""
    world = join_world(devices)
    try:
        yield world
        world.barrier()
    finally:
        world.leave()

"""The only place that knows that other processes exist."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vit_cli.device import choose_device
from vit_cli.errors import Stopped, UsageError


@dataclass(frozen=True)
class World:
    """The processes that train together: this one's number, how many there are, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Make `model` average its gradients over all processes."""
        if self.size == 1:
            return model
        parallel = nn.parallel.DistributedDataParallel
        # Fixed positions are the only buffers, and equal everywhere. torch 2.15 gave the argument a new name.
        new = "forward_sync_buffers" in inspect.signature(parallel).parameters
        return parallel(
            model, gradient_as_bucket_view=True, **{"forward_sync_buffers" if new else "broadcast_buffers": False}
        )

    def hold_back(self, model: nn.Module, held: bool) -> AbstractContextManager[Any]:
        """Keep gradients on this process for now, because another micro batch follows."""
        return model.no_sync() if held and self.size > 1 else nullcontext()

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

    def any(self, *claims: bool) -> list[bool]:
        """Tell for each claim whether it holds on any process."""
        if self.size == 1:
            return list(claims)
        flags = torch.tensor(claims, dtype=torch.int32, device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return [bool(flag) for flag in flags.tolist()]

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the group of processes."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join_world(devices: str = "auto") -> World:
    """Join the processes that a launcher such as torchrun or Slurm's srun has started, or be the only one."""
    place = find_place()
    device = choose_device(devices, place.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if place.size > 1 and not dist.is_initialized():
        os.environ |= find_meeting_point()
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=place.rank, world_size=place.size)
    return World(place.rank, place.size, device)


@contextmanager
def joined(devices: str) -> Iterator[World]:
    """Be one of the processes that work together for the block."""
    world = join_world(devices)
    try:
        yield world
    finally:
        world.leave()


class Place(NamedTuple):
    """Where a process stands: its number, how many there are, and its number on its own machine."""

    rank: int
    size: int
    local_rank: int


def find_place() -> Place:
    """Read this process's place from what a launcher has set; UsageError if that is incomplete.

    Slurm sets its variables for a whole job; only inside `srun` do they stand for processes of their own.
    """
    if is_in_slurm_step():
        place = read_place("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        return place._replace(local_rank=0) if torch.cuda.device_count() == 1 else place  # srun gave each its own GPU
    if has_launcher():
        return read_place("RANK", "WORLD_SIZE", "LOCAL_RANK")
    return Place(0, 1, 0)


def has_launcher() -> bool:
    """Tell whether torchrun, Slurm or the like started this process, perhaps with others."""
    return not os.environ.keys().isdisjoint(("RANK", "WORLD_SIZE")) or is_in_slurm_step()


def is_in_slurm_step() -> bool:
    """Tell whether Slurm alone, without another launcher, started several processes; one is as good as none."""
    others = {"RANK", "WORLD_SIZE"} & os.environ.keys()
    return not others and os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"


def read_place(*names: str) -> Place:
    """Read rank, size and local rank from these variables; without the last a process is its machine's only one."""
    values = [os.environ.get(name, default) for name, default in zip(names, ("", "", "0"), strict=True)]
    if not all(value.isdecimal() for value in values) or int(values[0]) >= int(values[1]):
        shown = ", ".join(f"{name}={value or 'nothing'}" for name, value in zip(names, values, strict=True))
        raise UsageError(
            f"the launcher's variables do not fit together: {shown}",
            "Unset them to run without a launcher; to run several processes, --devices is enough.",
        )
    return Place(*map(int, values))


def find_meeting_point() -> dict[str, str]:
    """Give the address and port where the processes meet, of the environment or of Slurm's first machine; UsageError."""
    first_node = re.match(r"([^\[,]+)(?:\[(\d+))?", os.environ.get("SLURM_STEP_NODELIST", ""))  # node[01-04,07]
    job = os.environ.get("SLURM_JOB_ID", "")
    slurm = {
        "MASTER_ADDR": first_node[1] + (first_node[2] or "") if first_node else "",
        "MASTER_PORT": str(20_000 + int(job) % 10_000) if job.isdecimal() else "",
    }
    point = {name: os.environ.get(name, fallback) for name, fallback in slurm.items()}
    missing = [name for name, value in point.items() if not value]
    if missing:
        raise UsageError(
            f"several processes were started, but not where they meet: {' and '.join(missing)} are not set",
            "Set them to the first machine and a free port of it, or let --devices or torchrun start the processes.",
        )
    return point


def count_processes(devices: str) -> int:
    """Tell how many processes `--devices` asks for on this machine; UsageError if it does not have the devices for them."""
    if devices == "auto":
        return max(torch.cuda.device_count(), 1)
    count = int(devices) if devices.isdecimal() else len(devices.split(","))
    if count == 0:
        raise UsageError("--devices 0 asks for no process at all", "Write --devices cpu to train without a GPU.")
    choose_device(devices, local_rank=count - 1)
    return count


def run_processes(processes: int, arguments: Sequence[str], folder: Path) -> Mapping[int, Any]:
    """Run `vit` with these arguments to its end in so many processes, under torch's elastic launcher.

    Gives the failures by rank, with `exitcode` and `timestamp`; the launcher ends the others when one fails. It writes
    into `folder`. Raises Stopped if a signal reached the launcher itself.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    elastic = logging.getLogger("torch.distributed.elastic")
    elastic.propagate = False  # what it has to say about failures, vit says in the user's words
    elastic.addHandler(logging.NullHandler())
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
        signals_to_handle="SIGHUP,SIGQUIT",
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // processes, 1)))
    literal = [argument.replace("$", "$$") for argument in arguments]  # the launcher fills in ${local_rank}
    try:
        elastic_launch(config, sys.executable)("-m", "vit_cli", *literal)
    except ChildFailedError as error:
        return error.failures
    except SignalException as error:
        raise Stopped(f"stopped by {error.sigval.name}", exit_code=128 + error.sigval) from error
    return {}

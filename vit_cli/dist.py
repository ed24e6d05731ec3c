"""The only place that knows that other processes exist."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vit_cli.device import choose_device
from vit_cli.errors import UsageError


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
    """Join the processes that a launcher such as torchrun has started, or be the only one."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(devices, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def count_processes(devices: str) -> int:
    """Tell how many processes `--devices` asks for on this machine; UsageError if it does not have the devices for them."""
    if devices == "auto":
        return max(torch.cuda.device_count(), 1)
    count = int(devices) if devices.isdecimal() else len(devices.split(","))
    if count == 0:
        raise UsageError("--devices 0 asks for no process at all", "Write --devices cpu to train without a GPU.")
    choose_device(devices, local_rank=count - 1)
    return count


def launch_processes(devices: str) -> None:
    """Run this very command once per process under torch's launcher; return at once if that is not needed or was done."""
    if "WORLD_SIZE" in os.environ:
        return
    processes = count_processes(devices)
    if processes == 1:
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*command, "-m", "vit_cli", *sys.argv[1:]])

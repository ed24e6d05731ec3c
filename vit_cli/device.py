"""Devices, precision, seeds and determinism."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from vit_cli.errors import UsageError

Precision = Literal["fp32", "bf16", "bf16_stream"]
"""What products are computed in; with `bf16_stream` tokens are also added up in bf16 (models/stream.py)."""


def choose_device(devices: str, local_rank: int = 0) -> torch.device:
    """Give the device that `auto`, `cpu`, a number of processes or a list such as `0,1` stands for in this process.

    A number asks for that many processes: each gets a GPU of its own, or the CPU where there is none.
    Raises UsageError for anything else, and for a GPU that is not there.
    """
    if devices == "cpu":
        return torch.device("cpu")
    if devices == "auto" or devices.isdecimal():
        if not torch.cuda.is_available():
            return torch.device("cpu")
        index = local_rank
    else:
        index = gpu_numbers(devices, local_rank)[local_rank]
    there = torch.cuda.device_count()
    if index >= there:
        raise UsageError(
            f"there is no GPU {index}: this machine shows {there}", "Leave --devices out, or write --devices cpu."
        )
    return torch.device("cuda", index)


def gpu_numbers(devices: str, local_rank: int) -> list[int]:
    """Read a list such as `0,1`; UsageError unless it names different GPUs, one for `local_rank` among them."""
    numbers = devices.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(
            f"--devices {devices} is not understood", "Write auto, cpu, a number of processes, or a list such as 0,1."
        )
    if len(set(map(int, numbers))) < len(numbers) or local_rank >= len(numbers):
        raise UsageError(
            f"--devices {devices} does not name a GPU for each process",
            "Name as many different GPUs as there are processes.",
        )
    return [int(number) for number in numbers]


LEAST_WIDTH = 192
"""The width of a token from which on bf16 pays on a CPU (docs/speed/step.md)."""


def choose_precision(asked: Literal["auto"] | Precision, device: torch.device, width: int) -> Precision:
    """Turn `auto` into bf16 where the device computes in it and it pays, and into fp32 elsewhere.

    `width` is that of a model's tokens, 0 if it has none. Below `LEAST_WIDTH`, CPUs spend more on casts than they gain.
    """
    if asked != "auto":
        return asked
    pays = device.type != "cpu" or width >= LEAST_WIDTH
    return "bf16" if pays and computes_in_bf16(device) else "fp32"


def computes_in_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies in bf16 by itself; others imitate it, at a hundredth of the speed of float32 or so."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Compute matrix products in bf16 where `precision` says so; weights stay in float32."""
    if precision != "fp32":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def seed_all(*parts: int) -> None:
    """Seed torch's generators on every device with a hash of `parts`, so that what follows depends on them alone."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little") >> 1
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def send(values: Sequence[float], device: torch.device) -> Tensor:
    """Copy a few numbers to `device` as float32 without holding the host up."""
    tensor = torch.tensor(values, dtype=torch.float32)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def fetch(tensor: Tensor) -> Callable[[], list[float]]:
    """Start to bring a few numbers to the host; calling the result gives them, and waits for nothing that came later."""
    if tensor.device.type != "cuda":
        return tensor.tolist
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def values() -> list[float]:
        copied.synchronize()
        return host.tolist()

    return values


def set_determinism(wanted: bool) -> None:
    """Use deterministic kernels where there are any, or let torch choose the fastest; before the first product on a GPU."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    # To set what is set already would import torch's compiler, which takes seconds.
    if torch.are_deterministic_algorithms_enabled() != wanted:
        torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.benchmark = not wanted


def describe_device(device: torch.device) -> str:
    """Name a device as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_gib(device: torch.device) -> float:
    """Tell the most memory that this process has held so far, in GiB: of the GPU, or of the CPU's main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (30 if sys.platform == "darwin" else 20)  # macOS counts bytes, Linux KiB

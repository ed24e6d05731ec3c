"""How tensors of other libraries become ours and back: each conversion with its inverse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Change = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Conversion:
    """A way from their tensors to ours and back; both raise RuntimeError or ValueError for other shapes."""

    forward: Change
    backward: Change


def same(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Leave tensors as they are."""
    return tensors


def one_way(forward: Change) -> Conversion:
    """Make a conversion without a way back."""

    def refuse(_: Sequence[Tensor]) -> Sequence[Tensor]:
        raise ValueError("there is no way back to this format.")

    return Conversion(forward, refuse)


def each(forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor]) -> Conversion:
    """Make a conversion of functions that take one tensor."""
    return Conversion(lambda ts: [forward(t) for t in ts], lambda ts: [backward(t) for t in ts])


def transpose(matrix: Tensor) -> Tensor:
    """(inputs, outputs) -> (outputs, inputs)."""
    if matrix.ndim != 2:
        raise ValueError("no matrix")
    return matrix.T


def unroll_kernel(kernel: Tensor) -> Tensor:
    """(d, c, p, p) -> (d, c * p * p): a convolution whose stride is its size is a matrix over flattened patches."""
    if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3]:
        raise ValueError("no square kernel")
    return kernel.flatten(1)


def roll_kernel(matrix: Tensor, channels: int = 3) -> Tensor:
    """(d, c * p * p) -> (d, c, p, p)."""
    side = math.isqrt(matrix.shape[1] // channels)
    return matrix.reshape(len(matrix), channels, side, side)


def split(prefix: int) -> Conversion:
    """Part positions (1, prefix + n, d) into those of prefix tokens and of patches."""
    return Conversion(
        lambda ts: [ts[0][:, :prefix], ts[0][:, prefix:]],
        lambda ts: [torch.cat(list(ts), dim=1)],
    )


def as_batch(tensor: Tensor) -> Tensor:
    """(n, d) or (1, n, d) -> (1, n, d)."""
    return tensor if tensor.ndim == 3 else tensor[None]


SAME = Conversion(same, same)
TRANSPOSE = each(transpose, transpose)
"""(inputs, outputs) <-> (outputs, inputs)."""
PATCHES = each(unroll_kernel, roll_kernel)
"""The kernel (d, 3, p, p) of a patch embedding <-> our matrix (d, 3 * p * p)."""
FUSE = Conversion(lambda ts: [torch.cat(list(ts))], lambda ts: ts[0].chunk(3))
"""q, k, v each (d, ...) <-> qkv (3 d, ...)."""
FUSE_TWO = Conversion(lambda ts: [torch.cat(list(ts))], lambda ts: ts[0].chunk(2))
"""Two layers of the same inputs, each (d, ...) <-> one (2 d, ...)."""

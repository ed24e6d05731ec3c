"""Tensors that are in parts among processes, for what is done to each element alone."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def own(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Give this process's part of each tensor that is in parts, and the others as they are.

    Before 2.12 torch can't take the sign of many parted tensors at once, or draw them towards others.
    """
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]

"""What names and shapes tell about a model: how deep, how wide, for which grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.adapt import shape
from vit_cli.models.sizes import SIZES, Size
from vit_cli.models.weights.naming import fill, find_numbers

HEAD_WIDTH = 64
"""The width of an attention head in nearly every published model."""


def take(tensors: Mapping[str, Tensor], name: str, ndim: int) -> Tensor:
    """Give a tensor that the architecture is read from; CheckpointError if it is missing or has other dimensions."""
    tensor = tensors.get(name)
    if tensor is None:
        raise CheckpointError(f"the weights lack {name}")
    if tensor.ndim != ndim or 0 in tensor.shape:
        raise CheckpointError(f"the weights {name} are of {shape(tensor)}, expected {ndim} dimensions")
    return tensor


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Count the layers: one more than the highest number in names like `pattern`, "blocks.{i}.norm1.weight".

    Raises CheckpointError if there is none, or if one on the way is missing.
    """
    numbers = {found["i"] for found in find_numbers([pattern], dict.fromkeys(tensors))}
    if numbers != set(range(len(numbers))) or not numbers:
        first = next((i for i in range(len(numbers) + 1) if i not in numbers), 0)
        raise CheckpointError(f"the weights lack {fill(pattern, {'i': first})}")
    return len(numbers)


def dimensions(width: int, depth: int, mlp: int, heads: int | None = None) -> dict[str, Any]:
    """Give the keys of a Vit's dimensions, by the size's name if it is a published one.

    Heads that nothing tells are those of the published size, else 64 numbers wide.
    """
    for name, size in SIZES.items():
        if (width, depth, mlp) == size[:3] and heads in (None, size.heads):
            return {"size": name}
    known = Size(width, depth, mlp, heads or max(1, width // HEAD_WIDTH))
    return dict(zip(Size._fields, known, strict=True))


def side_of(positions: int, name: str) -> int:
    """Give the side of the square grid that a table is for; CheckpointError if it is none."""
    side = math.isqrt(max(positions, 0))
    if side * side != positions or not side:
        raise CheckpointError(f"the {positions} positions of {name} are no square grid, and nothing tells another one")
    return side

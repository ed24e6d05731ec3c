"""Some images of a batch changed in one way and some in another, each with numbers of its own.

Transforms of more than one step first bring interleaved colours, as decoders give them, into planes: that costs 0.3 ns a
value, and the steps, of about 0.5 ns each, are up to three times as slow without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.augment.dice import Integers
from vit_cli.augment.mix import send

PIECE = 2**19
"""So many bytes of images are changed at once on a CPU, so that all that is in between stays in its cache."""


class Group(NamedTuple):
    """Images of a batch that are changed in one way: `change` takes them, (n, 3, h, w), and each of `numbers`, (n, ...)."""

    rows: Integers
    change: Callable[..., Tensor]
    numbers: tuple[NDArray[Any], ...] = ()


def change_rows(images: Tensor, groups: Iterable[Group]) -> Tensor:
    """Give a copy of (b, 3, h, w) images, in their layout, in which the groups are changed; themselves if all are empty.

    The groups share no image. Images of one group are brought together first: then a group is a view, and only two
    copies are made of each image. A CPU changes a group piece by piece, other devices all at once.
    """
    groups = [group for group in groups if len(group.rows)]
    if not groups:
        return images
    changed = np.concatenate([group.rows for group in groups])
    rest = np.ones(len(images), dtype=np.bool_)
    rest[changed] = False
    order = np.concatenate((changed, np.flatnonzero(rest)))
    sorted_images = take(images, order)
    size = max(1, PIECE // images[0].numel()) if images.device.type == "cpu" else len(images)
    first = 0
    for rows, change, numbers in groups:
        tables = [as_table(number, images.device) for number in numbers]
        for start in range(0, len(rows), size):
            end = min(start + size, len(rows))
            piece = sorted_images[first + start : first + end]
            piece.copy_(change(piece, *(table[start:end] for table in tables)))
        first += len(rows)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return take(sorted_images, back)


def take(images: Tensor, rows: Integers) -> Tensor:
    """Give a copy of some images of a batch, in its memory layout."""
    table = as_table(rows, images.device)
    if images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
        return images.index_select(0, table)
    return images.permute(0, 2, 3, 1).index_select(0, table).permute(0, 3, 1, 2)


def as_table(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """Send an array to `device`, floats in float32."""
    if numbers.dtype == np.float64:
        numbers = numbers.astype(np.float32)
    return send(torch.from_numpy(numbers), device)

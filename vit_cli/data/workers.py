"""How many processes shall load images."""

from __future__ import annotations

import numpy as np

from vit_cli.data.cache import in_memory
from vit_cli.data.samples import Samples

MOST = 16
LITTLE_DATA = 10_000
TINY_PIXELS = 64 * 64


def choose_workers(samples: Samples, cpu_count: int, processes: int) -> int:
    """Choose `workers` for one of `processes` training processes on a machine with `cpu_count` cores.

    None for a few tiny images in memory, which are ready before a worker could be asked; else a worker on every core
    but the one that trains, at most 16.
    """
    if in_memory(samples) and len(samples) <= LITTLE_DATA and np.size(samples.read(0)) <= 3 * TINY_PIXELS:
        return 0
    return max(0, min(MOST, cpu_count // processes - 1))

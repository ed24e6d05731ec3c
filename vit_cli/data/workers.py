"""How many processes shall load images."""

from __future__ import annotations

MOST = 16


def choose_workers(cpu_count: int, processes: int) -> int:
    """Choose the loaders of one of `processes` training processes: one on every core but that which trains, at most 16."""
    return max(0, min(MOST, cpu_count // processes - 1))

"""What a process keeps of the memory that it frees."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's allocator (mallopt(3))."""
KEPT_BYTES = (2**30, 2**25)
"""Larger pieces go back to the system when they are freed; older glibc takes no limit above the second."""


def keep_memory() -> None:
    """Have glibc keep the memory that is freed, where there is glibc: given back, every batch would fetch it page by page."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    if any(mallopt(MMAP_THRESHOLD, size) for size in KEPT_BYTES):
        mallopt(TRIM_THRESHOLD, KEPT_BYTES[0])  # by itself it would freeze the other limit where it is: low

"""Small data sets, decoded once and kept in memory that all workers share."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.data.decode import BadImage, Picture, open_picture
from vit_cli.data.loader import LARGE, read_picture
from vit_cli.data.reduced import Reduced
from vit_cli.data.samples import Content, Pixels, Samples, View
from vit_cli.errors import DataError

CacheMode = Literal["auto", "none", "ram", "device"]
BUDGET = 1_000_000_000
"""Bytes that a cache may take by itself, and at most a quarter of the free memory."""
CHUNK = 256
"""Images that a thread decodes at a time."""
PROBES = 64
"""Images whose headers are read to estimate the size of all."""


class Cached:
    """Samples whose decoded pixels lie in one block of shared memory; those that could not be decoded are read anew."""

    def __init__(self, base: Samples, pixels: Tensor, shapes: NDArray[np.int64]) -> None:
        self.base = base
        self.pixels = pixels
        self.shapes = shapes
        self.starts = np.concatenate([[0], np.cumsum(3 * shapes.prod(axis=1))])
        self.labels = base.labels
        self.classes = base.classes

    def __len__(self) -> int:
        return len(self.shapes)

    def read(self, index: int) -> Content:
        """Give the pixels (h, w, 3); the file, if it was broken."""
        height, width = self.shapes[index].tolist()
        if not height:
            return self.base.read(index)
        flat = self.pixels[self.starts[index] : self.starts[index + 1]].numpy()
        image: NDArray[np.uint8] = flat.reshape(height, width, 3)
        return image

    def name(self, index: int) -> str:
        """Give what `base` gives."""
        return self.base.name(index)

    def key(self, index: int) -> str:
        """Give what `base` gives."""
        return self.base.key(index)


def cached(
    samples: Samples, mode: CacheMode, max_pixels: int, processes: int = 1, short_side: int | None = None
) -> Samples:
    """Decode all images into memory, unless `mode` is "none", or "auto" and they are estimated to be beyond the budget.

    With a `short_side` larger pictures are reduced to it first, in every mode. Pictures that may be decoded smaller than
    they are (`LARGE`) are left in their files. So the cache changes nothing about an image. "auto" keeps all or none.
    `processes` on this machine share the budget. Raises DataError if more memory is asked for than there is, or if what is
    asked for would keep nothing.
    """
    if in_memory(samples):
        return samples
    if short_side is not None:
        samples = Reduced(samples, short_side, max_pixels)
    if mode == "none":
        return samples
    asked = mode != "auto"
    free = min(free_memory(), free_shared_memory()) // processes
    room = free if asked else min(BUDGET, free // 4)
    kept = probe(samples, max_pixels)
    needed = int(3 * kept.mean() * len(samples))
    if asked and not needed:
        raise DataError(
            f"data.cache: {mode} would keep none of these pictures, which are too large",
            "set data.cache_size to the short side to keep them at, such as 256",
        )
    if needed <= room and (asked or kept.all()):
        full = decode_all(samples, max_pixels, room)
        if full is not None:
            return full
    if asked:
        raise DataError(
            f"data.cache: {mode} needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            "set data.cache to none, keep smaller images (data.cache_size), or give the container more shared memory "
            "(--shm-size)",
        )
    return samples


def in_memory(samples: Samples) -> bool:
    """Tell whether the pixels are in memory anyway."""
    while isinstance(samples, View):
        samples = samples.base
    return isinstance(samples, Pixels | Cached)


def probe(samples: Samples, max_pixels: int) -> NDArray[np.int64]:
    """Count the pixels of some images that would be kept (0: it would not), spread evenly over those that are sound."""
    sizes = []
    for index in np.unique(np.linspace(0, len(samples) - 1, PROBES, dtype=np.int64)):
        try:
            picture = open_picture(samples.read(int(index)), max_pixels)
        except (OSError, BadImage):
            continue
        sizes.append(picture.rows * picture.columns if is_kept(picture) else 0)
    return np.array(sizes or [0], dtype=np.int64)


def is_kept(picture: Picture) -> bool:
    """Tell whether a picture is small enough to be decoded at its own size whatever is needed of it."""
    return picture.rows * picture.columns < LARGE


def decode_all(samples: Samples, max_pixels: int, room: int) -> Cached | None:
    """Decode all images with several threads; None if they turn out not to fit into `room` bytes."""

    def decode_chunk(start: int) -> tuple[Tensor, NDArray[np.int64]]:
        rows = range(start, min(start + CHUNK, len(samples)))
        images = [decode_or_none(samples, row, max_pixels) for row in rows]
        shapes = np.array([(0, 0) if image is None else image.shape[1:] for image in images], dtype=np.int64)
        flat = [image.permute(1, 2, 0).flatten() for image in images if image is not None]
        return torch.cat(flat) if flat else torch.empty(0, dtype=torch.uint8), shapes

    chunks: list[Tensor] = []
    shapes: list[NDArray[np.int64]] = []
    total = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for chunk, chunk_shapes in pool.map(decode_chunk, range(0, len(samples), CHUNK)):
            chunks.append(chunk)
            shapes.append(chunk_shapes)
            total += len(chunk)
            if total > room:
                pool.shutdown(cancel_futures=True)
                return None
    # Shared from the beginning, so that a page is taken when it is filled: shared later, all of it would be copied first.
    pixels = torch.tensor([], dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(total))
    at = total
    while chunks:  # from the back, so that each chunk's memory is free before the next is copied
        chunk = chunks.pop()
        pixels[at - len(chunk) : at] = chunk
        at -= len(chunk)
    return Cached(samples, pixels, np.concatenate(shapes))


def decode_or_none(samples: Samples, index: int, max_pixels: int) -> Tensor | None:
    """Decode an image, or not, if it is not kept or broken."""
    try:
        picture = read_picture(samples, index, max_pixels)
        return picture.pixels() if is_kept(picture) else None
    except BadImage:
        return None


def free_memory() -> int:
    """Count the bytes that are free on this machine, and within the limit of this container."""
    free = 4 * BUDGET
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")  # there, memory that only caches files counts as free
    if meminfo.exists():
        kilobytes = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = int(kilobytes["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").exists() and (limit := (group / "memory.max").read_text().strip()) != "max":
        free = min(free, int(limit) - int((group / "memory.current").read_text()))
    return max(free, 0)


def free_shared_memory() -> int:
    """Count the bytes that processes can still share; containers often have 64 MB in all."""
    shared = Path("/dev/shm")
    return shutil.disk_usage(shared).free if shared.is_dir() else free_memory()

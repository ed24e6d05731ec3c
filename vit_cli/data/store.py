"""Where shards lie: what can be read of them, and how that is done on this machine."""

from __future__ import annotations

import os
import resource
import struct
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from vit_cli.data.samples import printable
from vit_cli.data.shard_index import Table, map_table

MOST_DESCRIPTORS = 512
PLACE = struct.Struct("<II")
"""A row of the table of places."""


class Store(Protocol):
    """Shards and the tables of their index. Can be pickled."""

    def fetch(self, file: str, start: int, size: int) -> bytes:
        """Give so many bytes of a shard, fewer where it ends. Raises OSError."""

    def fetch_parts(self, file: str, start: int, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        """Give two parts of a shard that follow each other."""

    def name(self, file: str) -> str:
        """Name a shard in a message."""

    def place(self, index: int) -> tuple[int, int]:
        """Give block and size of an image."""

    def table(self, name: str) -> Table:
        """Give a whole table."""


class Descriptor:
    """An open file that is closed when nobody reads it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class LocalStore:
    """Shards in a folder of this machine. Each process opens those that it reads, and keeps a limited number open.

    Places are read one by one: mapped into memory, the pages around them would count as this process's memory in the end.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.folder = folder
        self.images = images
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        is_limited = limit != resource.RLIM_INFINITY
        self.opened = lru_cache(max(2, min(MOST_DESCRIPTORS, limit // 4)) if is_limited else MOST_DESCRIPTORS)(
            self.open
        )

    def __reduce__(self) -> tuple[type[LocalStore], tuple[Path, int]]:
        return LocalStore, (self.folder, self.images)

    def open(self, file: str) -> Descriptor:
        """Open a file."""
        return Descriptor(self.folder / file)

    def fetch(self, file: str, start: int, size: int) -> bytes:
        """Give so many bytes of a shard, fewer where it ends. Raises OSError."""
        descriptor = self.opened(file)
        content = os.pread(descriptor.number, size, start)
        while len(content) < size and (more := os.pread(descriptor.number, size - len(content), start + len(content))):
            content += more
        return content

    def fetch_parts(self, file: str, start: int, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        """Give two parts of a shard that follow each other: read one by one, which is faster than to part them."""
        return self.fetch(file, start, sizes[0]), self.fetch(file, start + sizes[0], sizes[1])

    def name(self, file: str) -> str:
        """Give the path of a shard."""
        return printable(os.fsencode(self.folder / file))

    def place(self, index: int) -> tuple[int, int]:
        """Give block and size of an image. Raises OSError."""
        block, size = PLACE.unpack(self.fetch("places.bin", PLACE.size * index, PLACE.size))
        return block, size

    def table(self, name: str) -> Table:
        """Map a table."""
        return map_table(self.folder / f"{name}.bin", name, self.images)

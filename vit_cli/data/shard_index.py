"""The index of a set of shards: `index.json`, and three tables with a row for each image, mapped into memory."""

from __future__ import annotations

import hashlib
import json
import mmap
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from vit_cli.errors import DataError
from vit_cli.section import Positive, Section

INDEX = "index.json"
COLUMNS = {"places": ("<u4", 2), "labels": ("<i8", 1), "keys": ("<i8", 1)}
"""The tables, each a file `NAME.bin`, with the type of a number and the numbers of a row.

places: at which block of 512 bytes of its shard the headers of an image begin, and its size in bytes; labels: its class
number; keys: the hash of its key, by which images are held out. 24 bytes an image.
"""
LARGEST_PICTURE = 2**28
DIGEST = r"^[0-9a-f]{64}$"

Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern=DIGEST)]
Table = NDArray[Any]


class ShardFile(Section):
    """A shard: its file (its path, if it lies elsewhere), images, size in bytes, and the sha256 of its content if known."""

    file: str
    images: Count
    bytes: Count
    sha256: Digest | None = None


class Made(Section):
    """How a pack was made: of which source, in which order, and of how many images that were left out as broken."""

    vit_version: str
    source: str
    source_fingerprint: Count
    seed: Count
    short_side: Positive | None
    quality: Positive
    bad: Count


class PackIndex(Section):
    """What `index.json` says. The images of the shards, one after the other, are the rows of the tables.

    In a pack of ours the names of members are keys with everything quoted that tars or WebDataset would not leave alone
    (`quoted`). `fingerprint` differs where anything does.
    """

    format_version: Literal[1] = 1
    format: Literal["wds", "arrow"]
    images: Positive
    classes: tuple[str, ...]
    counts: tuple[Count, ...]
    shards: tuple[ShardFile, ...]
    tables: dict[str, Digest]
    quoted: bool
    made: Made | None
    fingerprint: Digest

    def check(self, title: str) -> PackIndex:
        """Give the index itself. Raises DataError if it contradicts itself."""
        problems = {
            "the shards have other images": sum(shard.images for shard in self.shards) != self.images,
            "the classes have other images": sum(self.counts) != self.images,
            "it counts other classes": len(self.counts) != len(self.classes),
            "a class is there twice": len(set(self.classes)) < len(self.classes),
            "it lacks a table": self.format == "wds" and self.tables.keys() != COLUMNS.keys(),
        }
        wrong = [problem for problem, is_so in problems.items() if is_so]
        if wrong:
            raise DataError(f"{title} does not hold together: {wrong[0]}", "make it anew")
        return self


def read_index(content: bytes, title: str) -> PackIndex:
    """Read `index.json`. Raises DataError, naming `title`, if it is not one of ours."""
    try:
        index = PackIndex.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{title} is no index of shards: {where or 'JSON'}: {first['msg']}", "make it anew") from error
    return index.check(title)


def write_index(index: PackIndex) -> bytes:
    """Write `index.json`, the same bytes for the same index."""
    return (json.dumps(index.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def make_fingerprint(classes: tuple[str, ...], shards: tuple[ShardFile, ...], tables: dict[str, str]) -> str:
    """Give one digest of everything that a set of shards holds, as far as it was read."""
    facts = [list(classes), [[shard.images, shard.bytes, shard.sha256] for shard in shards], tables]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def view_table(content: Any, name: str) -> Table:
    """See the bytes of a table as its numbers, copying nothing."""
    kind, width = COLUMNS[name]
    numbers = np.frombuffer(content, dtype=kind)
    return numbers.reshape(-1, width) if width > 1 else numbers


def table_bytes(name: str, images: int) -> int:
    """Tell the size of a table's file."""
    kind, width = COLUMNS[name]
    return np.dtype(kind).itemsize * width * images


def map_table(path: Path, name: str, images: int) -> Table:
    """Map a table into memory: what is read of it stays in the system's cache, once for all processes.

    Raises DataError if the file has another size than the index says.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size != table_bytes(name, images):
                raise DataError(
                    f"{path} has {size} bytes, and {table_bytes(name, images)} belong to {images} images",
                    "the index is damaged or half copied; copy or make it anew",
                )
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}", "the index is half copied?") from error
    return view_table(content, name)


def check_labels(labels: Table, classes: int, title: str) -> None:
    """Raise DataError for a label that is not the number of a class."""
    if labels.min() >= 0 and labels.max() < classes:  # neither copies what is mapped, as argmin would
        return
    row = int(np.flatnonzero((labels < 0) | (labels >= classes))[0])
    raise DataError(f"{title}: image {row} has class {labels[row]}, but there are {classes} classes", "make it anew")


def hash_file(path: Path) -> str:
    """Give the sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()

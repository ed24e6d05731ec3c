"""One shard of a pack: which images it holds, how it is made, and the record by which it counts as made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from vit_cli.data.decode import MAX_PIXELS, BadImage
from vit_cli.data.order import Permutation
from vit_cli.data.pack_files import Hashed, Taken, write_parquet, write_tar, written_aside
from vit_cli.data.reduce import take_picture
from vit_cli.data.samples import Samples
from vit_cli.data.shard_index import COLUMNS, Count, ShardFile, table_bytes
from vit_cli.errors import DataError
from vit_cli.keys import derive, hash63
from vit_cli.section import Positive, Section

PLAN, PARTS = "pack.json", "parts"
"""The plan of a pack that is not finished, and the folder of what is known of its shards."""


class PackOptions(Section):
    """What decides about the bytes of a pack, apart from its source."""

    format: Literal["wds", "arrow"] = "wds"
    short_side: Positive | None = None
    quality: Annotated[int, Field(ge=1, le=100)] = 92
    shard_bytes: Positive = 2**28
    seed: Count = 0
    split: str = "train"
    max_pixels: Positive = MAX_PIXELS


class PackPlan(Section):
    """What is packed, and how many images go into a shard; shard i holds `per_shard` images of the shuffled source."""

    vit_version: str
    source: str
    source_fingerprint: Count
    images: Positive
    per_shard: Positive
    options: PackOptions

    @property
    def shards(self) -> int:
        """How many shards there will be."""
        return -(-self.images // self.per_shard)

    def rows(self, number: int) -> NDArray[np.int64]:
        """Give the images of a shard, by their rows in the source."""
        places = np.arange(number * self.per_shard, min((number + 1) * self.per_shard, self.images), dtype=np.int64)
        return Permutation(self.images, derive("pack", self.options.seed))(places)

    def file(self, number: int) -> str:
        """Name the file of a shard."""
        if self.options.format == "arrow":
            split = re.sub(r"[^\w-]+", "_", self.options.split)
            return f"{split}-{number:05d}-of-{self.shards:05d}.parquet"
        return f"shard-{number:06d}.tar"

    def write(self, dest: Path) -> None:
        """Write the plan."""
        with written_aside(dest / PLAN) as file:
            file.write(self.model_dump_json(indent=1).encode())


class BadPicture(Section):
    """A picture that was left out: its row in the source, its name and why."""

    index: Count
    path: str
    reason: str


class Part(Section):
    """What is known of a shard that is made: its file and the pictures that were left out of it."""

    shard: ShardFile
    bad: tuple[BadPicture, ...]

    @property
    def images(self) -> int:
        """How many images it holds."""
        return self.shard.images


@dataclass(frozen=True)
class Job:
    """What a worker needs to make shards; it ends where it is once `halt` is set."""

    samples: Samples
    plan: PackPlan
    dest: Path
    halt: Event


class Images:
    """The images of a shard, taken one by one; remembers rows, keys and labels of those taken, and those that are broken."""

    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.number = number
        self.keys: list[int] = []
        self.labels: list[int] = []
        self.bad: list[BadPicture] = []

    def __iter__(self) -> Iterator[Taken]:
        samples, options = self.job.samples, self.job.plan.options
        for row in self.job.plan.rows(self.number).tolist():
            check_wanted(self.job.halt)
            try:
                content, ending = take_picture(samples, row, options.short_side, options.quality, options.max_pixels)
            except BadImage as error:
                self.bad.append(BadPicture(index=row, path=samples.name(row), reason=error.reason))
                continue
            key, label = samples.key(row), int(samples.labels[row])
            self.keys.append(hash63(key))
            self.labels.append(label)
            yield Taken(key, content, ending, label)


def make_shard(job: Job, number: int) -> Part | OSError:
    """Make a shard and its record; give the error if the disk does not take them (it would not travel as an exception)."""
    try:
        return write_shard(job, number)
    except OSError as error:
        return OSError(error.errno, error.strerror or "it can't be written")


def write_shard(job: Job, number: int) -> Part:
    """Write a shard, then its tables, then its record: with the record it counts as made. Raises OSError."""
    images = Images(job, number)
    path = job.dest / job.plan.file(number)
    with written_aside(path) as file:
        places = write_content(job, file, images)
    shard = ShardFile(file=path.name, images=len(images.keys), bytes=file.length, sha256=file.digest.hexdigest())
    tables = {"places": places, "labels": images.labels, "keys": images.keys}
    with written_aside(job.dest / PARTS / f"{number:06d}.bin") as file:
        for name, (kind, _) in COLUMNS.items():
            file.write(np.array(tables[name], dtype=kind).tobytes())
    part = Part(shard=shard, bad=tuple(images.bad))
    with written_aside(job.dest / PARTS / f"{number:06d}.json") as file:
        file.write(part.model_dump_json().encode())
    return part


def write_content(job: Job, file: Hashed, images: Images) -> list[tuple[int, int]]:
    """Write the images; give block and size of each, zeros where there are no blocks."""
    if job.plan.options.format == "wds":
        return write_tar(file, images)
    write_parquet(file, images, tuple(job.samples.classes))
    return [(0, 0)] * len(images.keys)


def check_wanted(halt: Event) -> None:
    """Raise DataError in a worker whose main process has given up."""
    if halt.is_set():
        raise DataError("packing has ended")


def read_part(dest: Path, number: int) -> Part | None:
    """Read the record of a shard; None if it is not made, or its files are gone."""
    record = dest / PARTS / f"{number:06d}.json"
    try:
        part = Part.model_validate_json(record.read_bytes())
        is_whole = (dest / part.shard.file).stat().st_size == part.shard.bytes
        has_tables = record.with_suffix(".bin").stat().st_size == sum(
            table_bytes(name, part.images) for name in COLUMNS
        )
    except (OSError, ValidationError):
        return None
    return part if is_whole and has_tables else None

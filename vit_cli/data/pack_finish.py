"""The end of packing: the records of all shards become one index."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.pack_files import sync_file, written_aside
from vit_cli.data.pack_shard import PARTS, PLAN, PackPlan, Part, read_part
from vit_cli.data.shard_index import (
    COLUMNS,
    INDEX,
    Made,
    PackIndex,
    make_fingerprint,
    table_bytes,
    write_index,
)
from vit_cli.errors import DataError

BAD = "bad.jsonl"


def collect(dest: Path, plan: PackPlan, classes: Sequence[str]) -> PackIndex:
    """Write tables, list of broken pictures and index, then remove plan and records. Raises OSError or DataError."""
    parts = [part for number in range(plan.shards) if (part := read_part(dest, number)) is not None]
    images = sum(part.images for part in parts)
    if len(parts) < plan.shards or not images:
        raise DataError(f"{dest} has no image that can be read" if not images else f"a shard of {dest} is gone")
    held = [part.images for part in parts]
    tables = write_tables(dest, held) if plan.options.format == "wds" else {}
    shards = tuple(part.shard for part in parts)
    bad = sum(len(part.bad) for part in parts)
    (dest / BAD).unlink(missing_ok=True)
    if bad:
        write_bad(dest, parts)
    index = PackIndex(
        format=plan.options.format,
        images=images,
        classes=tuple(classes),
        counts=tuple(count_labels(dest, held, len(classes)).tolist()),
        shards=shards,
        tables=tables,
        quoted=True,
        made=Made(
            vit_version=plan.vit_version,
            source=plan.source,
            source_fingerprint=plan.source_fingerprint,
            seed=plan.options.seed,
            short_side=plan.options.short_side,
            quality=plan.options.quality,
            bad=bad,
        ),
        fingerprint=make_fingerprint(tuple(classes), shards, tables),
    )
    with written_aside(dest / INDEX) as file:
        file.write(write_index(index))
    (dest / PLAN).unlink()
    shutil.rmtree(dest / PARTS)
    sync_file(dest)
    return index


def write_tables(dest: Path, images: Sequence[int]) -> dict[str, str]:
    """Put the tables of all shards together; give their digests."""
    digests: dict[str, str] = {}
    starts = accumulate((table_bytes(name, 1) for name in COLUMNS), initial=0)
    for name, start in zip(COLUMNS, starts, strict=False):
        with written_aside(dest / f"{name}.bin") as file:
            for number, count in enumerate(images):
                file.write(read_column(dest, number, start * count, table_bytes(name, count)))
        digests[name] = file.digest.hexdigest()
    return digests


def count_labels(dest: Path, images: Sequence[int], classes: int) -> NDArray[np.int64]:
    """Count the images of each class."""
    counts = np.zeros(classes, dtype=np.int64)
    for number, count in enumerate(images):
        content = read_column(dest, number, table_bytes("places", count), table_bytes("labels", count))
        counts += np.bincount(np.frombuffer(content, COLUMNS["labels"][0]), minlength=classes)
    return counts


def read_column(dest: Path, number: int, start: int, size: int) -> bytes:
    """Read a part of the tables of a shard."""
    with (dest / PARTS / f"{number:06d}.bin").open("rb") as file:
        file.seek(start)
        return file.read(size)


def write_bad(dest: Path, parts: Sequence[Part]) -> Path:
    """List the broken pictures, a line of JSON for each."""
    with written_aside(dest / BAD) as file:
        for part in parts:
            file.write(b"".join(bad.model_dump_json().encode() + b"\n" for bad in part.bad))
    return dest / BAD

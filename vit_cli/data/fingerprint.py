"""Tell whether a data set is still the one that a run was trained on, and where it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.hf import HuggingFaceSamples
from vit_cli.data.samples import Files, Pixels, Samples, View, printable
from vit_cli.data.shards import ShardSamples
from vit_cli.data.split import EVERY
from vit_cli.keys import BITS

Rows = NDArray[np.int64]
CHUNK = 2**21
"""Images of shards that are looked at together: there may be hundreds of millions."""
SHOWN = 8
"""Differences that are told; the rest is counted."""


def fingerprint(samples: Samples) -> dict[str, list[int]]:
    """Give [images, hash of what they are, hash of their rows] for each class, hashes below 2**63.

    What an image is: its key; where that is only a row number, also its pixels (`Pixels`), or the size and file name of
    its picture (Hugging Face); in shards the hash of its key and its size. Where the data lies does not count, nor what is
    inside the files of a folder. Images count in their order, so equal fingerprints mean equal epochs. Images without
    classes are one class, and their labels count. Takes less than a second for a million images, besides what reading all
    pixels takes. Samples are best given as they were opened: cached ones give their keys alone.
    """
    content = reader(samples)
    if isinstance(samples.base if isinstance(samples, View) else samples, ShardSamples) and samples.labels.ndim == 1:
        return fingerprint_in_chunks(samples, content)
    if samples.labels.ndim > 1:
        rows = np.arange(len(samples))
        labelled = content(rows) + samples.labels.astype("<f8").tobytes()
        return {EVERY: [len(rows), hash_bytes(labelled), hash_bytes(as_bytes(rows))]}
    ends = np.cumsum(np.bincount(samples.labels, minlength=len(samples.classes)))
    parts = np.split(np.argsort(samples.labels, kind="stable"), ends[:-1])
    return {
        name: [len(rows), hash_bytes(content(rows)), hash_bytes(as_bytes(rows))]
        for name, rows in zip(samples.classes, parts, strict=True)
    }


def fingerprint_in_chunks(samples: Samples, content: Callable[[Rows], bytes]) -> dict[str, list[int]]:
    """Give the same, chunk by chunk; what stands for many images must be what stands for each, all of one length."""
    kind = np.min_scalar_type(len(samples.classes))  # small numbers are sorted faster
    counts = [0] * len(samples.classes)
    hashes = [(blake2b(digest_size=8), blake2b(digest_size=8)) for _ in samples.classes]
    for start in range(0, len(samples), CHUNK):
        labels = samples.labels[start : start + CHUNK].astype(kind)
        rows = start + np.argsort(labels, kind="stable")
        images, places = content(rows), as_bytes(rows)
        ends = np.cumsum(np.bincount(labels, minlength=len(samples.classes)))
        for number in np.unique(labels).tolist():
            here = int(ends[number - 1]) if number else 0, int(ends[number])
            counts[number] += here[1] - here[0]
            for hash, text in zip(hashes[number], (images, places), strict=True):
                width = len(text) // len(rows)
                hash.update(text[here[0] * width : here[1] * width])
    return {
        name: [count, *(shorten(hash.digest()) for hash in pair)]
        for name, count, pair in zip(samples.classes, counts, hashes, strict=True)
    }


def differences(before: Mapping[str, Sequence[int]], now: Mapping[str, Sequence[int]]) -> list[str]:
    """Say in a few lines what is different now, class by class; nothing if the fingerprints are equal."""
    lines = [
        f"{describe(name)}{change}"
        for name in {**before, **now}
        if (change := compare(before.get(name), now.get(name)))
    ]
    if len(lines) > SHOWN:
        return [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]
    if not lines and any(before[name] != now[name] for name in before):
        return ["the same images, but the classes follow each other in another order"]
    return lines


def describe(name: str) -> str:
    """Name a class, or all images."""
    return "images and labels" if name == EVERY else f"class {printable(name.encode('utf-8', 'backslashreplace'))}"


def compare(before: Sequence[int] | None, now: Sequence[int] | None) -> str:
    """Say how the images of one class differ, apart from where they stand among those of others; "" if they do not."""
    if before is None or now is None:
        return " is gone" if now is None else " is new"
    many = "image" if now[0] == 1 else "images"
    if before[0] != now[0]:
        return f": {before[0]} -> {now[0]} {many}"
    return "" if before[1] == now[1] else f": {now[0]} {many}, but other ones or in another order"


@singledispatch
def reader(samples: Samples) -> Callable[[Rows], bytes]:
    """Give a function that gives what stands for the images at some rows: different bytes for different images."""
    return lambda rows: b"\0".join(samples.key(row).encode("utf-8", "surrogateescape") for row in rows.tolist())


@reader.register
def read_view(samples: View) -> Callable[[Rows], bytes]:
    """Read the base of a view."""
    content = reader(samples.base)
    return lambda rows: content(samples.rows[rows])


@reader.register
def read_files(samples: Files) -> Callable[[Rows], bytes]:
    """Read the names of files, as they are: no name holds a zero."""
    return lambda rows: b"\0".join(map(samples.names.__getitem__, rows.tolist()))


@reader.register
def read_pixels(samples: Pixels) -> Callable[[Rows], bytes]:
    """Read row numbers and pixels."""
    return lambda rows: as_bytes(rows) + samples.pixels[rows].tobytes()


@reader.register
def read_table(samples: HuggingFaceSamples) -> Callable[[Rows], bytes]:
    """Read row numbers, and sizes and file names of pictures: both lie beside the pictures, which are left alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pictures, names = samples.column, pa.nulls(len(samples), pa.string())
    if pa.types.is_struct(pictures.type):
        names = pc.replace_substring_regex(pc.struct_field(pictures, "path"), r"^.*[/\\]", "")
        pictures = pc.struct_field(pictures, "bytes")
    lengths: Rows = pc.fill_null(pc.binary_length(pictures), -1).to_numpy()
    texts: NDArray[np.object_] = pc.fill_null(names, "").to_numpy(zero_copy_only=False)
    return lambda rows: as_bytes(rows) + as_bytes(lengths[rows]) + "\0".join(texts[rows]).encode()


@reader.register
def read_shards(samples: ShardSamples) -> Callable[[Rows], bytes]:
    """Read the hash of the key and the size of each picture, from the index."""
    return lambda rows: as_bytes(np.stack([samples.key_hashes[rows], samples.sizes[rows].astype(np.int64)], axis=1))


def as_bytes(numbers: NDArray[np.int64]) -> bytes:
    """Write numbers in the same way on every machine."""
    return numbers.astype("<i8").tobytes()


def hash_bytes(content: bytes) -> int:
    """Give the first 63 bits of the BLAKE2b hash."""
    return shorten(blake2b(content, digest_size=8).digest())


def shorten(digest: bytes) -> int:
    """Give the first 63 bits of a hash of 8 bytes."""
    return int.from_bytes(digest, "big") >> (64 - BITS)

"""The samples of a WebDataset tar: which members belong together, where their pictures lie, and what class they have."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.folder import is_hidden, is_picture
from vit_cli.data.samples import printable
from vit_cli.data.shards import key_of
from vit_cli.data.tar import BLOCK, Member, Read, TarError, walk
from vit_cli.errors import DataError
from vit_cli.keys import hash63

LABELS = (b"cls", b"json")
JSON_KEYS = ("label", "class")
LARGEST_LABEL = 2**20
MOST_CLASSES = 2**20
NUMBER = re.compile(r"\d{1,9}")
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
"""How files by gzip, Zstandard, bzip2 and xz begin."""


@dataclass
class Found:
    """The members of a sample that are read: its picture, and what tells its class."""

    picture: Member | None = None
    labels: dict[bytes, Member] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scan:
    """What is known of a tar after walking through it.

    `places` (n, 2) uint32 and `keys` (n,) int64 as in the tables. `labels` (n,) int64 are class numbers, or where classes
    have `names`, places in that list. `passed` counts the samples without a picture. `sha256` is known if all was read.
    """

    bytes: int
    places: NDArray[np.uint32]
    keys: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: list[str] | None
    passed: int
    sha256: str | None


def scan_tar(path: Path, reads_all: bool) -> Scan:
    """Walk through a tar. Raises DataError, with tar and member, for what is not in order; OSError if it can't be read.

    The members of a sample may stand anywhere in the tar, in any order; the samples are in the order of their pictures.
    """
    with path.open("rb") as file:
        number, length = file.fileno(), os.fstat(file.fileno()).st_size

        def read(start: int, size: int) -> bytes:
            return os.pread(number, size, start)

        try:
            check_kind(read(0, 8), length)
            return Scan(length, *describe(gather(walk(read, length)), read), hash_all(read) if reads_all else None)
        except TarError as error:
            raise DataError(f"{printable(os.fsencode(path))}: {error}", "mend the tar, or leave it out") from error


def check_kind(start: bytes, length: int) -> None:
    """Raise TarError for an empty file, or one that is compressed."""
    if not length:
        raise TarError("it is empty")
    if start.startswith(COMPRESSED):
        raise TarError("it is compressed, and can't be read from the middle: unpack it first (gunzip, unzstd)")


def gather(members: Iterable[Member]) -> dict[bytes, Found]:
    """Put the members of each sample together. Raises TarError if one is there twice, or a sample has two pictures."""
    samples: dict[bytes, Found] = {}
    for member in members:
        if any(is_hidden(part) for part in member.name.removeprefix(b"./").split(b"/")):
            continue
        key = key_of(member.name)
        ending = member.name.removeprefix(b"./")[len(key) + 1 :].lower()
        if is_picture(member.name):
            sample = samples.setdefault(key, Found())
            if sample.picture is not None:
                raise TarError(
                    f"{printable(sample.picture.name)} and {printable(member.name)} are pictures of one sample"
                )
            sample.picture = member
        elif ending in LABELS:
            sample = samples.setdefault(key, Found())
            if ending in sample.labels:
                raise TarError(f"{printable(member.name)} is there twice")
            sample.labels[ending] = member
    return samples


def describe(
    samples: dict[bytes, Found], read: Read
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64], list[str] | None, int]:
    """Give places, keys and labels of the samples with a picture, names of classes, and how many have none."""
    full = [(key, found, found.picture) for key, found in samples.items() if found.picture is not None]
    full.sort(key=lambda item: item[2].start)
    places = np.empty((len(full), 2), dtype=np.uint32)
    keys, values = np.empty(len(full), dtype=np.int64), list[int | str]()
    for row, (key, found, picture) in enumerate(full):
        if picture.start // BLOCK >= 2**32 or picture.size >= 2**32:
            raise TarError(f"{printable(picture.name)} lies beyond 2 TB, or is larger than 4 GB")
        places[row] = picture.start // BLOCK, picture.size
        keys[row] = hash63(key.decode("utf-8", "surrogateescape"))
        values.append(read_class(key, found, read))
    by_name = [isinstance(value, str) for value in values]
    if any(by_name) and not all(by_name):
        odd = full[by_name.index(not by_name[0])][2]
        raise TarError(
            f"{printable(odd.name)} has its class by {'name' if not by_name[0] else 'number'}, others do not"
        )
    passed = len(samples) - len(full)
    if not any(by_name):
        return places, keys, np.array(values, dtype=np.int64), None, passed
    names, labels = np.unique(np.array(values, dtype=object), return_inverse=True)
    return places, keys, labels.astype(np.int64), names.tolist(), passed


def read_class(key: bytes, found: Found, read: Read) -> int | str:
    """Give the class of a sample: from KEY.cls, else "label" or "class" in KEY.json, else the folder that it lies in.

    Text that is a whole number is the number of a class, other text a name. Raises TarError if there is none.
    """
    for ending in LABELS:
        member = found.labels.get(ending)
        if member is None:
            continue
        if member.size > LARGEST_LABEL:
            raise TarError(f"{printable(member.name)} has {member.size} bytes, too many for a label")
        value = read_label(read(member.data, member.size), ending)
        if value is not None:
            return check_class(value, member.name)
    folder = key.rpartition(b"/")[0].rpartition(b"/")[2]
    if not folder:
        raise TarError(f"{printable(key)} has no class: neither .cls, nor label in .json, nor a folder")
    try:
        return folder.decode()
    except UnicodeDecodeError as error:
        raise TarError(f"the folder {printable(folder)!r}, whose name is a class, is not in UTF-8") from error


def read_label(content: bytes, ending: bytes) -> object:
    """Read what a member says about a class; None if it says nothing."""
    try:
        text = content.decode()
        if ending == b"cls":
            return text.strip()
        values = json.loads(text)
    except (ValueError, RecursionError):
        return b""  # no class is called so
    if not isinstance(values, dict):
        return None
    return next((values[name] for name in JSON_KEYS if values.get(name) is not None), None)


def check_class(value: object, name: bytes) -> int | str:
    """Give a class number or a name. Raises TarError for what is neither: -1, 2.5, NaN, an empty text."""
    text = str(value).strip() if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    if NUMBER.fullmatch(text) and int(text) < MOST_CLASSES:
        return int(text)
    try:
        float(text)
    except ValueError:
        if text and text.isprintable():
            return text
    raise TarError(f"{printable(name)} has no class, but {str(value)[:40]!r}")


def hash_all(read: Read) -> str:
    """Give the sha256 of a whole file."""
    digest, at = sha256(), 0
    while chunk := read(at, 2**20):
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()

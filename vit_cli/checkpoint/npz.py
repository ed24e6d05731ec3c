"""NumPy's .npz files: arrays of numbers alone, measured before any is made."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.checkpoint.commit import commit
from vit_cli.errors import CheckpointError

MAX_ARRAYS = 20_000
MAX_RATIO = 200
SMALL = 64 * 2**20
"""What unpacks to no more than this is harmless however small it was packed."""
KINDS = {"f2", "f4", "f8", "i8"}
BFLOAT16 = "V2"
"""NumPy knows no bfloat16; it writes two bytes without a meaning, and only bfloat16 is written so."""


class Header(NamedTuple):
    """What a member of the archive says before its numbers."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[np.generic]


def write_npz(path: Path, arrays: Mapping[str, NDArray[np.float32 | np.int64]]) -> None:
    """Commit arrays of numbers to `path`, each with its checksum: the file is there whole, or not at all."""

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes each name for allow_pickle

    commit(path, write)


def read_npz(path: Path) -> dict[str, Tensor]:
    """Read all arrays of a file, and verify their checksums. Raises CheckpointError if it is damaged, or no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = list_arrays(archive)
            return read_arrays(archive, arrays, arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} can't be read: {str(error)[:200]}", "Remove it.") from error


def list_arrays(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Give the arrays of an .npz by name. Raises ValueError if it is no such file, or one that unpacks to too much."""
    members = archive.infolist()
    if len(members) > MAX_ARRAYS:
        raise ValueError(f"it has {len(members):,} members")
    total, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if total > max(SMALL, MAX_RATIO * packed):
        raise ValueError(f"its {packed:,} bytes claim to unpack to {total:,}")
    if packed > archive.start_dir:
        raise ValueError(f"its members claim to be larger than the file: {packed:,} bytes in {archive.start_dir:,}")
    arrays: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {member.filename!r:.60} is no array")
        if name in arrays:
            raise ValueError(f"it has two arrays {name!r:.60}")
        arrays[name] = member
    return arrays


def read_arrays(
    archive: zipfile.ZipFile, arrays: dict[str, zipfile.ZipInfo], names: Collection[str]
) -> dict[str, Tensor]:
    """Read the arrays called `names`; ValueError names one that holds anything but numbers or is of another size than it says."""
    return {name: read_array(archive, arrays[name], name) for name in names}


def read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Tensor:
    """Read one array. Raises ValueError, also for one of Python's objects, which only a pickle could bring back."""
    with archive.open(member) as file:
        header = read_header(file, name)
        size = math.prod(header.shape) * header.dtype.itemsize
        if size != member.file_size - file.tell():
            raise ValueError(f"the array {name:.80} is not as large as it says")
        content = bytearray(file.read())  # which also compares the checksum
    if len(content) != size:
        raise ValueError(f"the array {name:.80} is cut short")
    if not size:
        return torch.zeros(header.shape)
    if header.dtype.kind == "V":
        flat = torch.frombuffer(content, dtype=torch.bfloat16)
    else:
        flat = torch.from_numpy(
            np.frombuffer(content, dtype=header.dtype).astype(header.dtype.newbyteorder("="), copy=False)
        )
    if header.is_fortran:
        return flat.reshape(header.shape[::-1]).permute(*reversed(range(len(header.shape))))
    return flat.reshape(header.shape)


def read_header(file: IO[bytes], name: str) -> Header:
    """Read what stands before the numbers of an array; ValueError if they are no numbers that weights are kept in."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"the array {name:.80} has a format of version {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    header = Header(*read(file))
    if header.dtype.hasobject:
        raise ValueError(f"the array {name:.80} holds Python's objects, which could run code; vit never loads them")
    kind = header.dtype.str[1:]
    if kind not in KINDS and (kind != BFLOAT16 or header.dtype.names):
        raise ValueError(f"the array {name:.80} is of a strange kind: {header.dtype}")
    return header

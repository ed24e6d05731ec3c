"""Small packs, and WebDataset tars as others write them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.unit.data.pictures import encode, picture, write_folder
from vit_cli.data.folder import Folder
from vit_cli.data.pack import Packed, pack_images
from vit_cli.data.pack_shard import PackOptions
from vit_cli.data.source import Source

SHARD = 20_000
"""Bytes of a shard of some eight small pictures."""


def small_folder(root: Path) -> Folder:
    """37 pictures of two classes."""
    return Folder(root=write_folder(root, {"cat": 12, "dog": 25}))


def pack(source: Source, dest: Path, workers: int = 1, max_bad: float = 0.001, **options: Any) -> Packed:
    """Pack into small shards, silently."""
    chosen = PackOptions(**{"shard_bytes": SHARD, **options})
    return pack_images(source, dest, chosen, workers, max_bad, lambda _text: None)


def content_of(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_tar(
    path: Path, members: Mapping[str, bytes] | list[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT
) -> Path:
    """Write members with Python's tarfile, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format, encoding="utf-8", errors="surrogateescape") as tar:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples_of(labels: Mapping[str, int]) -> list[tuple[str, bytes]]:
    """A picture and a .cls for each key."""
    return [
        member
        for number, (key, label) in enumerate(labels.items())
        for member in ((f"{key}.png", encode(picture(number))), (f"{key}.cls", str(label).encode()))
    ]

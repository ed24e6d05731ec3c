"""A checkpoint file: tensors and plain values, checksummed, and nothing that could run."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vit_cli.checkpoint.commit import commit
from vit_cli.errors import CheckpointError

FORMAT = "vit checkpoint"
FORMAT_VERSION = 1
PLAIN = (str, bytes, int, float, bool, type(None))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Commit `content` to `path`: it is there whole, or not at all.

    Raises TypeError for what `read_checkpoint` would refuse: anything but tensors and plain values.
    """
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    check_plain(whole, "checkpoint")

    def write(aside: Path) -> None:
        with aside.open("wb") as file:  # torch names a full disk only behind a file of Python's
            torch.save(whole, file)

    commit(path, write)


def check_plain(value: Any, where: str) -> None:
    """Raise TypeError if there is anything but tensors and plain values in `value`."""
    if type(value) in (dict, OrderedDict):
        for key, inner in value.items():
            check_plain(key, f"a key of {where}")
            check_plain(inner, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for number, inner in enumerate(value):
            check_plain(inner, f"{where}[{number}]")
    elif not isinstance(value, Tensor) and type(value) not in PLAIN:
        raise TypeError(f"{where} is a {type(value).__name__}, which no checkpoint may hold.")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, and verify its checksums. Nothing in it can run code: only tensors and plain values load."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is damaged or no checkpoint", "A file cut short while it was copied looks like this."
        )
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()  # torch.load does not compare the checksums
        if damaged:
            raise ValueError(f"the checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports damage with many kinds of errors
        reason = str(error).partition("\n")[0].partition(" (1)")[0]
        raise CheckpointError(
            f"{path} can't be read as a checkpoint: {type(error).__name__}",
            f"It is damaged, or holds more than tensors and plain values, which vit never loads. {reason[:120]}",
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of vit")
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('format_version')}; this vit reads version {FORMAT_VERSION}"
        )
    return content

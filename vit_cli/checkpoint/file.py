"""A checkpoint file: tensors and plain values, checksummed, and nothing that could run."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vit_cli.checkpoint.commit import commit
from vit_cli.errors import CheckpointError

FORMAT = "vit checkpoint"
FORMAT_VERSION = 1
PLAIN = (str, bytes, int, float, bool, type(None))
LEARNED = ("model", "ema", "optimizer", "state")
PURPOSE = ("task", "model", "res", "class_names", "preprocess", "held", "fingerprint")
MAX_MEMBERS = 100_000
MAX_VALUES = 1_000_000
MAX_DEPTH = 32
MEMBER = re.compile(r"(?!\.\.?/)[^/\\]+/(?:data\.pkl|data/\d+|(?:\.data/)?\.?[a-z_]+)")
"""The names that torch gives to what a file holds; none leads anywhere, none ends like a program."""


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


def check_plain(value: Any, name: str, path: tuple[Any, ...] = ()) -> int:
    """Raise TypeError if there is anything but tensors and plain values in `value`; count what there is.

    Raises ValueError for more values, or deeper ones, than any checkpoint needs; what is there by reference counts each
    time, so that a small file can't take hours.
    """
    if type(value) in (dict, OrderedDict):
        parts = value.items()
    elif type(value) in (list, tuple):
        parts = enumerate(value)
    elif type(value) in PLAIN or is_plain_tensor(value):
        return 1
    else:
        raise TypeError(f"{name}{show_place(path)} is a {type(value).__name__}, which no checkpoint may hold.")
    if len(path) >= MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {MAX_DEPTH} deep.")
    count = 1
    for key, inner in parts:
        if type(key) not in PLAIN:
            raise TypeError(f"{name}{show_place(path)} has a {type(key).__name__} for a key.")
        count += check_plain(inner, name, (*path, key))
        if count > MAX_VALUES:
            raise ValueError(f"{name} has more than {MAX_VALUES:,} values.")
    return count


def show_place(path: tuple[Any, ...]) -> str:
    """Write keys as in Python: ['about']['held'][1]."""
    return "".join(f"[{key!r:.40}]" for key in path)


def is_plain_tensor(value: Any) -> bool:
    """Tell a tensor whose every number is stored: no sparse, quantised or empty shell of one, no subclass, none repeated."""
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and not value.is_quantized
        and not value.is_meta
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, and verify its checksums. Nothing in it can run code: only tensors and plain values load."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":  # torch would load what stands before an archive
                raise zipfile.BadZipFile
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.stat().st_size)
        content = torch.load(path, map_location="cpu", weights_only=True)
        check_plain(content, "it")
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is damaged or no checkpoint", "A file cut short while it was copied looks like this."
        ) from error
    except Exception as error:  # noqa: BLE001 - torch reports damage with many kinds of errors
        raise CheckpointError(
            f"{path} can't be read as a checkpoint: {type(error).__name__}",
            f"It is damaged, or holds more than tensors and plain values, which vit never loads. {explain(error)}".strip(),
        ) from (None if is_advice(error) else error)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of vit")
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('format_version')}; this vit reads version {FORMAT_VERSION}"
        )
    return content


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError unless an archive of `size` bytes is one as torch writes it, with right checksums."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"It has {len(members):,} members.")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("It has two members of one name.")
    for member in members:
        if not MEMBER.fullmatch(member.filename):
            raise ValueError(f"No checkpoint has a member {member.filename!r:.60}.")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{member.filename:.60} is compressed, which no checkpoint is.")
    if sum(member.file_size for member in members) > size:
        raise ValueError("Its members claim to be larger than the file.")
    damaged = archive.testzip()  # torch.load does not compare the checksums
    if damaged:
        raise ValueError(f"The checksum of {damaged:.60} is wrong.")


def is_advice(error: Exception) -> bool:
    """Tell torch's long text on how to load a file all the same, which nobody should be led to."""
    return "weights_only" in str(error)


def explain(error: Exception) -> str:
    """Give the reason in one line; of torch's advice only the name that it stumbled over."""
    if not is_advice(error):
        return "".join(c if c.isprintable() else "?" for c in str(error).partition("\n")[0][:120])
    stranger = re.search(r"GLOBAL ([\w.]{1,80}) (?:was not|whose module)", str(error))
    return f"It names {stranger[1]}." if stranger else ""


def digest(content: Mapping[str, Any]) -> str:
    """Give one SHA-256, in hex, over all that two runs which did the same must have in common.

    That is what was learned (`LEARNED`), to the bit, and of `about` what it is for (`PURPOSE`); neither the time it took
    nor the paths, the number of workers or the version of vit.
    """
    about = content.get("about", {})
    same = {key: content[key] for key in LEARNED if key in content}
    same["about"] = {key: about[key] for key in PURPOSE if key in about}
    total = hashlib.sha256()
    for part in canonical(same):
        total.update(part)
    return total.hexdigest()


def canonical(value: Any) -> Iterator[bytes]:
    """Give bytes that are equal for equal values alone, whatever the order of keys; a tuple equals a list."""
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)};".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        yield f"keys {len(value)};".encode()
        for key in sorted(value, key=lambda key: (type(key).__name__, repr(key))):
            yield from canonical(key)
            yield from canonical(value[key])
    elif isinstance(value, list | tuple):
        yield f"items {len(value)};".encode()
        for item in value:
            yield from canonical(item)
    else:
        text = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        yield f"{type(value).__name__} {len(text)};".encode()
        yield text

"""Writing one shard of a pack: a WebDataset tar, or a Parquet file as Hugging Face writes it."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import numpy as np

from vit_cli.data.tar import BLOCK, END, pad

ROW_GROUP = 100
"""Images that a reader of Parquet takes at once, as Hugging Face writes them."""


class Taken(NamedTuple):
    """An image of a pack: its key, its encoded picture with the ending of its format, and its class."""

    key: str
    content: bytes
    ending: str
    label: int


class Hashed:
    """A file that is written from beginning to end, and its sha256."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.length = 0

    def write(self, content: bytes) -> int:
        """Append."""
        self.file.write(content)
        self.digest.update(content)
        self.length += len(content)
        return len(content)

    def flush(self) -> None:
        """Leave nothing in this process."""
        self.file.flush()

    def tell(self) -> int:
        """Give the length."""
        return self.length

    def close(self) -> None:
        """Leave closing to who opened the file."""

    @property
    def closed(self) -> bool:
        """Tell whether the file is closed."""
        return bool(self.file.closed)


@contextmanager
def written_aside(path: Path) -> Iterator[Hashed]:
    """Write a file that appears under its name once it is complete and on the disk; nothing is left of one that fails."""
    aside = path.with_name(f"{path.name}.{uuid4().hex}.part")  # others may write the same
    try:
        with aside.open("wb") as file:
            yield Hashed(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_file(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def sync_file(path: Path) -> None:
    """Have a file on the disk, or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_tar(file: Hashed, images: Iterable[Taken]) -> list[tuple[int, int]]:
    """Write KEY.jpg (or another ending) and KEY.cls, the class number, for each image; give block and size of each picture."""
    places = []
    for image, key in zip_keys(images):
        places.append((file.length // BLOCK, len(image.content)))
        write_member(file, f"{key}.{image.ending}", image.content)
        write_member(file, f"{key}.cls", str(image.label).encode())
    file.write(2 * END)
    return places


def zip_keys(images: Iterable[Taken]) -> Iterator[tuple[Taken, str]]:
    """Quote the key of each image; one that comes twice gets a number from its second time on."""
    seen: dict[str, int] = {}
    for image in images:
        key = quote_key(image.key)
        seen[key] = seen.get(key, 0) + 1
        yield image, key if seen[key] == 1 else f"{key}%23{seen[key]}"


def quote_key(key: str) -> str:
    """Give a key that tars and WebDataset leave alone: ASCII, no dots, no slash in front. `unquote` undoes it."""
    quoted = quote(key.encode("utf-8", "surrogateescape"), safe="/").replace(".", "%2E")
    return "%2F" + quoted[1:] if quoted.startswith("/") else quoted


def write_member(file: Hashed, name: str, content: bytes) -> None:
    """Write a member with the same headers wherever and whenever it is written."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    file.write(member.tobuf(tarfile.PAX_FORMAT))
    file.write(content)
    file.write(bytes(pad(len(content)) - len(content)))


def write_parquet(file: Hashed, images: Iterable[Taken], classes: tuple[str, ...]) -> None:
    """Write columns `image` {bytes, path} and `label`, described as `datasets` does it. Raises DataError without pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([("image", picture), ("label", pa.int64())], metadata=about)
    with pq.ParquetWriter(file, schema, compression="none", write_statistics=False) as writer:
        for group in grouped(images):
            rows = [{"bytes": image.content, "path": in_utf8(image.key)} for image in group]
            labels = np.array([image.label for image in group], dtype=np.int64)
            writer.write_table(pa.table({"image": pa.array(rows, picture), "label": labels}, schema=schema))


def in_utf8(key: str) -> str:
    """Write what of a key is not UTF-8 as an escape."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def grouped(images: Iterable[Taken]) -> Iterator[list[Taken]]:
    """Give the images in groups of `ROW_GROUP`; the last may be smaller."""
    group: list[Taken] = []
    for image in images:
        group.append(image)
        if len(group) == ROW_GROUP:
            yield group
            group = []
    if group:
        yield group

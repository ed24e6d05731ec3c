"""Images in indexed shards: WebDataset tars that are read at any place, here or far away."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

from pydantic import BeforeValidator, ValidationInfo

from vit_cli.data.pack_shard import PARTS, PLAN
from vit_cli.data.remote import check_address, is_address, open_remote
from vit_cli.data.samples import MAX_BYTES, printable
from vit_cli.data.shard_index import COLUMNS, INDEX, PackIndex, Table, check_labels, map_table, read_index
from vit_cli.data.store import LocalStore, Store
from vit_cli.data.tar import BLOCK, FILES, Member, TarError, is_plain, read_member
from vit_cli.errors import DataError
from vit_cli.section import DataPath, Section, resolve_path

SHOWN_PROBLEMS = 3


class ShardSamples:
    """Images of indexed shards, in the order of the shards; nothing of an image is in memory before it is read.

    Can be pickled at the cost of the list of shards: the labels are mapped anew.
    """

    def __init__(self, store: Store, index: PackIndex) -> None:
        self.store = store
        self.classes = index.classes
        self.quoted = index.quoted
        self.files = [shard.file for shard in index.shards]
        self.ends = list(accumulate(shard.images for shard in index.shards))
        self.labels = store.table("labels")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "labels"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.labels = self.store.table("labels")

    @property
    def key_hashes(self) -> Table:
        """The hash of every key (n,); mapped anew each time, so that it takes memory only while it is used."""
        return self.store.table("keys")

    @property
    def sizes(self) -> Table:
        """The size of every picture in bytes (n,); mapped anew each time."""
        return self.store.table("places")[:, 1]

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, index: int) -> bytes:
        """Give an encoded picture. Raises OSError if it can't be read, DataError if the index does not fit the shard."""
        file = self.file(index)
        block, size = self.store.place(index)
        if size > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        header, content = self.store.fetch_parts(file, block * BLOCK, (BLOCK, size))
        if not is_plain(header, size):  # a long name lies between, or something is wrong
            content = self.store.fetch(file, self.member(index).data, size)
        if len(content) < size:
            raise self.misfit(index, "it ends before")
        return content

    def member(self, index: int) -> Member:
        """Read the headers of an image. Raises OSError or DataError."""
        file = self.file(index)
        block, size = self.store.place(index)
        try:
            member = read_member(partial(self.store.fetch, file), block * BLOCK)
        except TarError as error:
            raise self.misfit(index, str(error)) from error
        if member is None or member.kind not in FILES or member.size != size:
            raise self.misfit(index, "there is no such file there")
        return member

    def file(self, index: int) -> str:
        """Tell which shard an image lies in."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.files[bisect_right(self.ends, index)]

    def misfit(self, index: int, reason: str) -> DataError:
        """Say that what is read of an image is not what the index says."""
        return DataError(
            f"{self.store.name(self.file(index))}: image {index} of the index is not there: {reason}",
            "the shard is damaged, or the index belongs to another one; `vit data import DIR --verify` reads all",
        )

    def name(self, index: int) -> str:
        """Give the shard, and the name of the member if it can be read."""
        try:
            member = printable(self.member(index).name)
        except (OSError, DataError):
            member = f"image {index}"
        return f"{self.store.name(self.file(index))}: {member}"

    def key(self, index: int) -> str:
        """Give the key that the image had when it was packed; else the member's name up to the first dot after the folders.

        Raises OSError or DataError if it can't be read.
        """
        key = key_of(self.member(index).name)
        return (unquote_to_bytes(key) if self.quoted else key).decode("utf-8", "surrogateescape")


def key_of(name: bytes) -> bytes:
    """Give what the members of a sample share: the name up to the first dot after the folders."""
    folder, slash, last = name.removeprefix(b"./").rpartition(b"/")
    return folder + slash + last.split(b".", 1)[0]


def resolve_place(value: Any, info: ValidationInfo) -> Any:
    """Make a path here absolute; check an address, and leave it as it is."""
    if isinstance(value, str) and is_address(value):
        check_address(value)
        return value
    return str(resolve_path(value, info)) if isinstance(value, str | Path) else value


class Shards(Section):
    """Shards that `vit data pack` or `vit data import` made: `path` is their folder, or its address (https, s3, gs, hf).

    With `split` a folder in it. What lies far away is read image by image, or with `cache_dir` copied there, each shard
    when it is first needed. Needs the extra `remote` for addresses, and s3fs or gcsfs for s3 and gs.
    """

    name: Literal["shards"] = "shards"
    path: Annotated[str, BeforeValidator(resolve_place)]
    split: str | None = None
    cache_dir: DataPath | None = None

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return f"shards {self.place}"

    @property
    def place(self) -> str:
        """The folder or address of the index."""
        return f"{self.path.rstrip('/')}/{self.split}" if self.split else self.path

    def open(self) -> ShardSamples:
        """Map the index. Raises DataError if it is not there, is damaged, or does not fit the shards."""
        store: Store
        if is_address(self.place):
            store, index = open_remote(self.place, self.cache_dir)
        else:
            store, index = open_local(Path(self.place))
        samples = ShardSamples(store, index)
        check_labels(samples.labels, len(index.classes), self.title)
        return samples


def is_pack(folder: Path) -> bool:
    """Tell whether a folder holds an index of shards."""
    return (folder / INDEX).is_file() and all((folder / f"{name}.bin").is_file() for name in COLUMNS)


def check_finished(folder: Path) -> None:
    """Raise DataError for a pack that was cut short: what is there of it would be taken for something else."""
    if (folder / PLAN).is_file() and (folder / PARTS).is_dir() and not is_pack(folder):
        raise DataError(f"{folder} is an unfinished pack", "give the same vit data pack command again: it goes on")


def open_local(folder: Path) -> tuple[LocalStore, PackIndex]:
    """Read the index in a folder. Raises DataError if it is not there, is not finished or does not fit the shards."""
    check_finished(folder)
    path = folder / INDEX
    try:
        index = read_index(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(
            f"{path} can't be read: {error.strerror}",
            "`vit data pack` makes shards, `vit data import` an index for those of others",
        ) from error
    check_format(index, str(folder))
    check_shards(folder, index)
    for name in COLUMNS:
        map_table(folder / f"{name}.bin", name, index.images)
    return LocalStore(folder, index.images), index


def check_format(index: PackIndex, title: str) -> None:
    """Raise DataError for shards in Parquet."""
    if index.format != "wds":
        raise DataError(f"{title} holds Parquet files", f"read them with data.train={{name: hf, path: {title}}}")


def check_shards(folder: Path, index: PackIndex) -> None:
    """Raise DataError if shards are missing, or have other sizes than the index says."""
    problems = []
    for shard in index.shards:
        try:
            size = (folder / shard.file).stat().st_size
        except OSError as error:
            problems.append(f"{printable(os.fsencode(folder / shard.file))}: {error.strerror}")
            continue
        if size != shard.bytes:
            problems.append(f"{printable(os.fsencode(folder / shard.file))} has {size} bytes, not {shard.bytes}")
    if problems:
        more = f" and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise DataError(
            f"{folder / INDEX} does not fit its shards: {'; '.join(problems[:SHOWN_PROBLEMS])}{more}",
            "copy the shards again, or make the index anew",
        )

"""Shards that lie far away: read in parts, or copied into a cache, with patience for networks that fail."""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from vit_cli.data.decode import one_line
from vit_cli.data.pack_files import sync_file
from vit_cli.data.shard_index import (
    COLUMNS,
    INDEX,
    PackIndex,
    Table,
    hash_file,
    read_index,
    table_bytes,
    view_table,
)
from vit_cli.data.store import PLACE, LocalStore
from vit_cli.errors import DataError

PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "hf", "memory")
"""What an address may begin with: none of these runs a command."""
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
WAITS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each new attempt, give or take half of them."""
CONNECT_SECONDS, SILENCE_SECONDS = 30, 60
LARGEST_TABLES = 2**28
"""An index of at most so many bytes is kept in memory where there is no cache."""
PASSING = (408, 425, 429)
"""Refusals of a web server that may be over in a moment, apart from 500 and above."""
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of the disk that a copy is written to."""
QUERY = re.compile(r"(?<=\?)[^\s'\"]+")
"""What follows the ? of an address that a server led us to: often a signature that is as good as a password."""
T = TypeVar("T")


class GaveUp(OSError):
    """The network, or the server, failed for so long that there is no use in trying again."""


def is_address(text: str) -> bool:
    """Tell an address from a path."""
    return "://" in text


def check_address(text: str) -> None:
    """Raise ValueError for an address of a kind that is not read, or with more in it than a place."""
    protocol = text.partition("://")[0]
    if protocol not in PROTOCOLS or "::" in text:
        raise ValueError(f"addresses begin with one of {', '.join(PROTOCOLS[:-1])}, and are not chained")
    if "?" in text or "#" in text:
        raise ValueError("an address names a folder; it has no ? or #")
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("an address has no user and password: recipes travel in checkpoints; put them into ~/.netrc")


class RemoteStore:
    """Shards at an address: parts of them are read, or with a `folder` they are copied there whole when first needed.

    Each process has connections of its own. Several may copy the same shard at once: each writes aside and renames.
    """

    def __init__(self, address: str, index: PackIndex, folder: Path | None) -> None:
        self.address = address
        self.images = index.images
        self.shards = {shard.file: (shard.bytes, shard.sha256) for shard in index.shards}
        self.cache = None if folder is None else LocalStore(folder, index.images)
        self.tables: dict[str, bytes] = {}
        self.copied: set[str] = set()
        self.connected: tuple[int, Any] = (-1, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "connected": (-1, None)}

    @property
    def files(self) -> Any:
        """The file system of this process."""
        if self.connected[0] != os.getpid():
            self.connected = os.getpid(), connect(self.address)
        return self.connected[1]

    def fetch(self, file: str, start: int, size: int) -> bytes:
        """Give so many bytes of a shard, fewer where it ends. Raises OSError."""
        if self.cache is None:
            return self.download(file, start, min(size, self.shards[file][0] - start))
        if file not in self.copied:
            self.copy(file, *self.shards[file])
            self.copied.add(file)
        return self.cache.fetch(file, start, size)

    def fetch_parts(self, file: str, start: int, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        """Give two parts of a shard that follow each other, asked for at once."""
        content = self.fetch(file, start, sum(sizes))
        return content[: sizes[0]], content[sizes[0] :]

    def download(self, file: str, start: int, size: int) -> bytes:
        """Read a part of a file. Raises OSError; DataError if the server can't give parts."""

        def read() -> bytes:
            content: bytes = self.files.cat_file(f"{self.address}/{file}", start=start, end=start + size)
            if len(content) < size:
                raise OSError(errno.EIO, f"{len(content)} bytes came, not {size}")
            return content

        content = patiently(read, self.name(file))
        if len(content) > size:
            raise DataError(
                f"the server of {self.address} gives whole files only, not parts of them",
                "set cache_dir, a folder to copy the shards to",
            )
        return content

    def copy(self, file: str, size: int, digest: str | None) -> None:
        """Copy a file into the cache, unless it is there in full size: aside, checked, then renamed.

        Raises OSError; DataError if the disk is full or the cache can't be written.
        """
        assert self.cache is not None
        path = self.cache.folder / file
        if path.exists() and path.stat().st_size == size:
            return
        aside = path.with_name(f"{path.name}.{uuid4().hex}.part")

        def fetch() -> None:
            self.files.get_file(f"{self.address}/{file}", str(aside))
            if (found := aside.stat().st_size) != size:
                raise OSError(errno.EIO, f"{found} bytes came, not {size}")
            sync_file(aside)
            if digest is not None and hash_file(aside) != digest:
                raise OSError(errno.EIO, "its content has another checksum than the index says")

        with writing(self.cache.folder):
            aside.touch()
        try:
            patiently(fetch, self.name(file))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def name(self, file: str) -> str:
        """Give the address of a shard."""
        return f"{self.address}/{file}"

    def place(self, index: int) -> tuple[int, int]:
        """Give block and size of an image."""
        if self.cache is not None:
            return self.cache.place(index)
        block, size = PLACE.unpack_from(self.tables["places"], PLACE.size * index)
        return block, size

    def table(self, name: str) -> Table:
        """Map a table in the cache; without one, see it in memory."""
        return view_table(self.tables[name], name) if self.cache is None else self.cache.table(name)

    def load_tables(self, digests: dict[str, str]) -> None:
        """Bring the tables here. Raises OSError; DataError if they do not fit the index, or the server can't give parts."""
        if self.cache is None:
            self.download("places.bin", 0, 1)  # whether parts are given is known before shards are asked for
        for name in COLUMNS:
            size = table_bytes(name, self.images)
            if self.cache is not None:
                self.copy(f"{name}.bin", size, digests[name])
                continue
            content = self.download(f"{name}.bin", 0, size)
            if sha256(content).hexdigest() != digests[name]:
                raise DataError(f"{self.name(f'{name}.bin')} does not belong to its index", "upload the pack again")
            self.tables[name] = content


def open_remote(address: str, cache_dir: Path | None) -> tuple[RemoteStore, PackIndex]:
    """Read the index at an address, and bring its tables here. Raises DataError."""
    address = address.rstrip("/")
    try:
        files = connect(address)
        content = patiently(lambda: files.cat_file(f"{address}/{INDEX}"), f"{address}/{INDEX}")
        index = read_index(content, f"{address}/{INDEX}")
        check_files(index, address)
        size = sum(table_bytes(name, index.images) for name in COLUMNS)
        if cache_dir is None and size > LARGEST_TABLES:
            raise DataError(f"the index of {address} has {size / 1e6:.0f} MB", "set cache_dir, a folder to keep it in")
        folder = None if cache_dir is None else cache_dir / index.fingerprint[:32]
        if folder is not None:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
        store = RemoteStore(address, index, folder)
        store.load_tables(index.tables)
    except OSError as error:
        raise DataError(
            f"{address} can't be opened: {error.strerror or one_line(error)}",
            "check the address, the network and who may read it",
        ) from error
    return store, index


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise DataError, naming the folder of the cache, if it can't be written."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder} can't be written: {error.strerror}", "cache_dir names another folder") from error


def check_files(index: PackIndex, title: str) -> None:
    """Raise DataError unless the shards lie beside the index."""
    strange = [
        shard.file for shard in index.shards if shard.file != Path(shard.file).name or shard.file.startswith(".")
    ]
    if index.format != "wds" or strange:
        what = f"names {strange[0]!r}, which does not lie beside it" if strange else "is one of Parquet files"
        raise DataError(f"the index of {title} {what}", "upload a pack of tars, with its index among them")


def connect(address: str) -> Any:
    """Give the file system of an address. Raises DataError if a package is missing."""
    protocol = address.partition("://")[0]
    try:
        import fsspec

        options = web_options() if protocol in ("http", "https") else {}
        return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        raise DataError(
            f"addresses that begin with {protocol}:// need the package {package or 'fsspec[http]'}",
            f"pip install {package}" if package else 'pip install "vit-cli[remote]"',
        ) from error


def web_options() -> dict[str, Any]:
    """Bound the waiting for a web server, but not the time of a large file; heed proxies and ~/.netrc."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}}


def patiently(action: Callable[[], T], what: str) -> T:
    """Do something over the network, again after a while if it fails.

    Raises FileNotFoundError, PermissionError or, when it failed too often, GaveUp, each naming `what`; DataError if the
    disk here is full.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, f"{what} is not there") from error
        except PermissionError as error:
            raise PermissionError(errno.EACCES, f"{what} may not be read") from error
        except Exception as error:  # the libraries of web and clouds have errors of their own
            if isinstance(error, OSError) and error.errno in LOCAL:
                raise DataError(
                    f"there is no room to copy {what}: {error.strerror}", "free some, or move cache_dir"
                ) from error
            if wait is None or not may_pass(error):
                reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {one_line(error)}"
                raise GaveUp(errno.EIO, f"{what}: {QUERY.sub('***', reason)}") from error
        time.sleep(wait * random.uniform(0.5, 1.5))
    raise AssertionError("the last wait is None")


def may_pass(error: Exception) -> bool:
    """Tell whether it makes sense to try again."""
    if isinstance(error, TypeError | NotImplementedError):  # raised by fsspec for what it can't do
        return False
    status = getattr(error, "status", None)
    return not isinstance(status, int) or status >= 500 or status in PASSING

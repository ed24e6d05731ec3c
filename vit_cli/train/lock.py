"""One process at a time trains in a run folder: the file `lock` in it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from vit_cli.checkpoint.commit import told
from vit_cli.data.samples import printable
from vit_cli.errors import UsageError

LOCK = "lock"
SILENCE = timedelta(minutes=30)
"""So long without a heartbeat, and a process on another host counts as dead, where the file system has no locks."""
TAKEN = (errno.EAGAIN, errno.EACCES)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
UNREADABLE = (OSError, ValueError, KeyError, TypeError, OverflowError)


class InUse(UsageError):
    """A run folder in which another process trains: the `owner`, if it is known."""

    owner: Owner | None = None


class Owner(NamedTuple):
    """The process that a lock file names."""

    host: str
    pid: int
    since: datetime

    def __str__(self) -> str:
        is_today = self.since.date() == datetime.now().astimezone().date()
        return (
            f"process {self.pid} on host {self.host} (since {self.since:{'%H:%M' if is_today else '%Y-%m-%d %H:%M'}})"
        )


@contextmanager
def locked(folder: Path) -> Iterator[Owner | None]:
    """Keep every other process out of a run folder; give the former owner if it died without freeing the lock.

    The lock is POSIX's: forked loader workers do not inherit it, and the kernel frees it however the process ends. It
    also goes when this process closes *any* file that it opened at `folder/lock`, so nothing else in it may open that
    file, nor call this again for the same folder inside the block. Where the file system has no locks, the file's
    content decides, and two processes that start in the same instant may both go on.

    Raises InUse, naming the owner, if the folder is in use; TrainingError if the file can't be written.
    """
    path = folder / LOCK
    with told(path):
        number, former = take(path)
    try:
        with told(path):
            write_owner(number)
        yield former
    finally:
        give_back(number, path)


def find_owner(folder: Path) -> Owner | None:
    """Give the process that trains in a run folder, as far as can be known without locking it; None if there is none.

    For other processes than that one: closing the file would free its lock.
    """
    with suppress(OSError):
        number = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
        owner = read_owner(number)
        os.close(number)
        return owner if owner is not None and is_alive(owner, folder) else None
    return None


def take(path: Path) -> tuple[int, Owner | None]:
    """Open and lock a file; give its number and the owner that it still names."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with ExitStack() as on_failure:
            on_failure.callback(os.close, number)
            former = claim(number, path.parent)
            if is_at(number, path):  # else its owner removed it after we opened it: what we locked has no name any more
                on_failure.pop_all()
                return number, former


def claim(number: int, folder: Path) -> Owner | None:
    """Lock an open file; give the owner that it still names. Raises InUse if another process has it."""
    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = read_owner(number)
        if error.errno in TAKEN or (error.errno in NO_LOCKS and owner is not None and is_alive(owner, folder)):
            raise in_use(folder, owner) from None
        if error.errno not in NO_LOCKS:
            raise
    return read_owner(number)


def give_back(number: int, path: Path) -> None:
    """Remove the file while it is still locked, so that nobody can lock it in between, and then free it."""
    with suppress(OSError):  # where it can't be removed it stays, free
        if is_at(number, path):
            path.unlink()
    os.close(number)


def is_at(number: int, path: Path) -> bool:
    """Tell whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def write_owner(number: int) -> None:
    """Write this process into the open file."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}) + "\n"
    os.ftruncate(number, 0)
    os.pwrite(number, content.encode(), 0)


def read_owner(number: int) -> Owner | None:
    """Read the process that the open file names; None if it names none."""
    with suppress(*UNREADABLE):
        content = json.loads(os.pread(number, 4096, 0))
        return Owner(printable(content["host"].encode()), int(content["pid"]), moment(content["since"]))
    return None


def is_alive(owner: Owner, folder: Path) -> bool:
    """Tell whether a process, as far as can be known without locks, still trains in `folder`."""
    if owner.host != socket.gethostname():
        return datetime.now().astimezone() - last_sign(owner, folder) < SILENCE
    return owner.pid != os.getpid() and exists(owner.pid)


def last_sign(owner: Owner, folder: Path) -> datetime:
    """Give the last heartbeat in status.json, or the start if there is none since."""
    with suppress(*UNREADABLE):
        return max(owner.since, moment(json.loads((folder / "status.json").read_bytes())["heartbeat"]))
    return owner.since


def exists(pid: int) -> bool:
    """Tell whether there is a process of this number here."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def moment(text: Any) -> datetime:
    """Read a time as isoformat writes it, in this machine's zone."""
    return datetime.fromisoformat(text).astimezone()


def in_use(folder: Path, owner: Owner | None) -> InUse:
    """Say who trains in the folder, and what to do."""
    if owner is None:
        return InUse(f"{folder} is in use by another process", "Wait until that has ended.")
    how = f": kill {owner.pid}" if owner.host == socket.gethostname() else " there"
    error = InUse(f"{folder} is in use by {owner}", f"Wait until that has ended, or stop it{how}")
    error.owner = owner
    return error

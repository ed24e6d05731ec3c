"""Files that are there whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from vit_cli.document import to_json
from vit_cli.errors import TrainingError


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, in one step."""
    with beside(link) as aside:
        aside.symlink_to(os.path.relpath(target, link.parent))


def commit(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file aside, bring it to the disk, and only then give it its name."""
    with beside(path) as aside:
        write(aside)
        sync(aside)


def commit_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write a JSON document, whole or not at all; NaN and infinity become null."""
    text = to_json(content, indent) + "\n"
    commit(path, lambda aside: aside.write_text(text, encoding="utf-8"))


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Lend a name beside `path`; what the block makes there becomes `path` in one step, or leaves nothing."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    with told(path):
        aside.unlink(missing_ok=True)
        try:
            yield aside
            aside.replace(path)
            sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what keeps `path` from being written into a TrainingError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        cause = error.__context__  # torch hides the disk's own words here
        reason = cause if isinstance(cause, OSError) else error
        is_limit = isinstance(reason, OSError) and reason.errno in (errno.EMFILE, errno.ENFILE)
        asked = "Raise the limit with `ulimit -n 4096`." if is_limit else "Is the disk full or read-only?"
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason).partition("\n")[0]
        raise TrainingError(
            f"{path} can't be written: {said}",
            f"{asked} What was saved before is intact; `vit resume` goes on from there.",
        ) from error


def sync(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

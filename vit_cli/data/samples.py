"""What every opened data set looks like, and views of one: a part of it, or other class numbers."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vit_cli.errors import DataError

MAX_BYTES = 256 * 2**20
"""No picture that is small enough to be decoded has a file that large."""

COUNTED = 2**22
"""Labels that are counted together: there may be hundreds of millions."""

Content = bytes | NDArray[np.uint8]
"""An encoded picture, or its pixels: (h, w) grey or (h, w, 3) RGB."""
Labels = NDArray[Any]
"""Class numbers (n,) in int64; or for K labels or targets (n, K): marks of 0 and 1 in float32, numbers in float64 as they
were read and in float32 once standardised."""


class Samples(Protocol):
    """One opened split of a data set. Nothing in it is a Python object per image; it can be pickled."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, a label is a place in this list; or of the columns of `labels`."""

    @property
    def labels(self) -> Labels:
        """The label of every image: (n,), or (n, K)."""

    def __len__(self) -> int:
        """Count the images."""

    def read(self, index: int) -> Content:
        """Give an image, encoded or as pixels. Raises OSError if its file can't be read."""

    def name(self, index: int) -> str:
        """Say which image it is, for messages: one line without control characters."""

    def key(self, index: int) -> str:
        """Give what stays the same about an image when others come and go: its relative path, or its row number."""


class PackedNames:
    """Many names in one block of bytes: each costs its own length and 8 bytes."""

    def __init__(self, names: Iterable[bytes]) -> None:
        block, ends = bytearray(), array("q", [0])
        for name in names:
            block += name
            ends.append(len(block))
        self.block = bytes(block)
        self.ends = np.frombuffer(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> bytes:
        return self.block[self.ends[index] : self.ends[index + 1]]


class Files:
    """Pictures in files below one folder; `names` are their paths from `root`, with "/" between folders."""

    def __init__(self, root: str, names: PackedNames, labels: Labels, classes: Sequence[str]) -> None:
        self.root = os.fsencode(root)
        self.names = names
        self.labels = labels
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> bytes:
        """Give the path of a file, as the file system knows it."""
        return os.path.join(self.root, self.names[index])  # noqa: PTH118 - pathlib knows no paths of bytes

    def read(self, index: int) -> bytes:
        """Give a file as it is. Raises OSError if it can't be read or is larger than any picture."""
        with open(self.path(index), "rb") as file:  # noqa: PTH123
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return file.read()

    def name(self, index: int) -> str:
        """Give the whole path."""
        return printable(self.path(index))

    def key(self, index: int) -> str:
        """Give the path from `root`."""
        return self.names[index].decode("utf-8", "surrogateescape")


class Pixels:
    """Images that are in memory already: (n, h, w) or (n, h, w, 3)."""

    def __init__(self, title: str, pixels: NDArray[np.uint8], labels: Labels, classes: Sequence[str]) -> None:
        self.title = title
        self.pixels = pixels
        self.labels = labels
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Give the pixels of an image."""
        image: NDArray[np.uint8] = self.pixels[index]
        return image

    def name(self, index: int) -> str:
        """Give the data set and the row."""
        return f"{self.title} row {index}"

    def key(self, index: int) -> str:
        """Give the row."""
        return str(index)


class View:
    """Other images, other labels, the same contents: image `i` is image `rows[i]` of `base`."""

    def __init__(self, base: Samples, rows: NDArray[np.int64], labels: Labels, classes: Sequence[str]) -> None:
        self.base = base
        self.rows = rows
        self.labels = labels
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Content:
        """Give what `base` gives."""
        return self.base.read(int(self.rows[index]))

    def name(self, index: int) -> str:
        """Give what `base` gives."""
        return self.base.name(int(self.rows[index]))

    def key(self, index: int) -> str:
        """Give what `base` gives."""
        return self.base.key(int(self.rows[index]))


def subset(samples: Samples, rows: NDArray[np.int64]) -> Samples:
    """Give the images at `rows` alone, in that order."""
    return View(samples, rows, samples.labels[rows], samples.classes)


def count_images(samples: Samples) -> list[int]:
    """Count the images of each class, or with each label; of targets, those that are not zero."""
    if samples.labels.ndim == 1:
        parts = (samples.labels[start : start + COUNTED] for start in range(0, len(samples), COUNTED))
        return sum(
            (np.bincount(part, minlength=len(samples.classes)) for part in parts),  # it copies what is mapped
            start=np.zeros(len(samples.classes), dtype=np.int64),
        ).tolist()
    return np.count_nonzero(samples.labels, axis=0).tolist()


class UnknownClassError(DataError):
    """Images of classes that are not among those of the model, or of training."""


def relabel(samples: Samples, classes: Sequence[str], what: str) -> Samples:
    """Number the labels by another list of classes, matched by name.

    Raises UnknownClassError, naming `what`, if there are images of a class that `classes` lacks; classes without images may be
    missing.
    """
    if samples.classes == tuple(classes):
        return samples
    numbers = {name: number for number, name in enumerate(classes)}
    counts = np.bincount(samples.labels, minlength=len(samples.classes))
    unknown = [name for name, count in zip(samples.classes, counts, strict=True) if count and name not in numbers]
    if unknown:
        raise UnknownClassError(
            f"{what} has images of {listed(unknown, 'class', 'classes')} that training does not know",
            f"training knows {listed(classes, 'class', 'classes')}; classes are matched by name",
        )
    table = np.array([numbers.get(name, -1) for name in samples.classes], dtype=np.int64)
    return View(samples, np.arange(len(samples)), table[samples.labels], classes)


def listed(names: Sequence[str], one: str, many: str, show: int = 8) -> str:
    """Name some things in a message: "2 classes: cat, dog"."""
    shown = ", ".join(names[:show]) + (f" and {len(names) - show} more" if len(names) > show else "")
    return f"{len(names)} {one if len(names) == 1 else many}: {shown}" if names else f"no {one}"


def printable(path: bytes) -> str:
    """Write a path on one line: what is not UTF-8, and every control character, as an escape."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

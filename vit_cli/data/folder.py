"""Pictures in class folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from vit_cli.data.samples import Files, PackedNames, listed, printable
from vit_cli.data.shards import check_finished
from vit_cli.errors import DataError
from vit_cli.section import DataPath, Section

ENDINGS = (b".jpg", b".jpeg", b".jpe", b".jfif", b".png", b".webp", b".gif", b".bmp", b".tif", b".tiff")
"""Files that count as pictures, in any case; what is inside is told by its first bytes, not by this."""
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "test")
"""What people call the folder to validate on; the first that is there wins."""


class Folder(Section):
    """Pictures in class folders: `root/class/**/picture`, or `root/split/class/**/picture`."""

    name: Literal["folder"] = "folder"
    root: DataPath
    split: str | None = None

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return f"folder {self.place}"

    @property
    def place(self) -> Path:
        """The folder that holds the class folders."""
        return self.root / self.split if self.split else self.root

    def open(self) -> Files:
        """List the pictures. Raises DataError if the folders do not hold what a data set needs."""
        check_place(self.root, self.split)
        check_finished(self.place)
        classes = class_folders(self.place)
        check_names(self.place, classes)
        if not self.split:
            check_no_splits(self.place, classes)
        counts: list[int] = []
        names = PackedNames(walk_classes(self.place, classes, counts))
        empty = [name for name, count in zip(classes, counts, strict=True) if not count]
        if empty:
            folders = listed([printable(name) for name in empty], "class folder", "class folders")
            raise DataError(
                f"{self.place} has {folders} without a picture",
                f"put pictures there ({', '.join(e.decode() for e in ENDINGS)}) or remove the folder",
            )
        labels = np.repeat(np.arange(len(classes)), counts)
        return Files(str(self.place), names, labels, [printable(name) for name in classes])


def check_place(root: Path, split: str | None) -> None:
    """Raise DataError unless `root`, and `split` in it, are folders."""
    if not root.is_dir():
        raise DataError(f"{root} is {'not a folder' if root.exists() else 'not there'}", "check `root`")
    if split and not (root / split).is_dir():
        found = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name.encode()))
        if any(is_picture(entry.name) for name in found for entry in visible(os.fsencode(root / name))):
            classes = listed(found, "class folder", "class folders")
            raise DataError(f"{root} has no splits: it holds {classes}", f"leave the split {split!r} away")
        raise DataError(f"{root} has no folder {split!r}", f"it has {listed(found, 'folder', 'folders')}")


def class_folders(place: Path) -> list[bytes]:
    """List the folders in `place`, sorted. Raises DataError if there are none."""
    entries = visible(os.fsencode(place))
    classes = [entry.name for entry in entries if entry.is_dir()]
    if classes:
        return classes
    if any(is_picture(entry.name) for entry in entries):
        raise DataError(f"{place} holds pictures, but no class folders", "put each class into a folder of its own")
    raise DataError(f"{place} holds no class folders", "expected one folder of pictures for each class")


def check_names(place: Path, folders: list[bytes]) -> None:
    """Raise DataError for names that are not UTF-8: no model could say them in its JSON."""
    strange = [printable(name) for name in folders if not is_utf8(name)]
    if strange:
        named = listed(strange, "class folder", "class folders")
        raise DataError(f"{place} has {named}, by a name that is not UTF-8", "rename it")


def is_utf8(name: bytes) -> bool:
    """Tell whether a name is text."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_no_splits(place: Path, folders: list[bytes]) -> None:
    """Raise DataError if the folders are splits rather than classes: trained on, they would be taken for classes."""
    names = {os.fsdecode(name).lower(): os.fsdecode(name) for name in folders}
    train = next((names[name] for name in TRAIN_NAMES if name in names), None)
    val = next((names[name] for name in VAL_NAMES if name in names), None)
    if train is None or (val is None and any(is_picture(e.name) for e in visible(os.fsencode(place / train)))):
        return
    more = f" and data.val.name=folder data.val.root={place} data.val.split={val}" if val else ""
    raise DataError(f"{place} holds split folders, not class folders", f"set data.train.split={train}{more}")


def walk_classes(place: Path, classes: list[bytes], counts: list[int]) -> Iterator[bytes]:
    """Give the path of every picture from `place`, class by class, sorted; fill `counts` with pictures per class."""
    root = os.fsencode(place)
    for name in classes:
        count = 0
        for path in walk(root, name, ()):
            count += 1
            yield path
        counts.append(count)


def walk(root: bytes, below: bytes, above: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    """Give every picture in `root/below` and its folders; `above` are the folders passed, to find loops of links."""
    place = root + b"/" + below
    status = os.stat(place)  # noqa: PTH116 - pathlib knows no paths of bytes
    if (status.st_dev, status.st_ino) in above:
        raise DataError(f"{printable(place)} links to a folder that holds it", "remove the link")
    for entry in visible(place):
        path = below + b"/" + entry.name
        if entry.is_dir():
            yield from walk(root, path, (*above, (status.st_dev, status.st_ino)))
        elif is_picture(entry.name) and is_file(entry):
            yield path


def visible(place: bytes) -> list[os.DirEntry[bytes]]:
    """List what is in a folder, sorted by name, without hidden files and what archives leave behind."""
    try:
        with os.scandir(place) as entries:
            return sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{printable(place)} can't be listed: {error.strerror}") from error


def is_hidden(name: bytes) -> bool:
    """Tell whether a name is none of the data set's: .DS_Store, .git, __MACOSX."""
    return name.startswith(b".") or name == b"__MACOSX"


def is_file(entry: os.DirEntry[bytes]) -> bool:
    """Tell a file, or a link whose target is gone and will be missed; reading a pipe or a device might never end."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110 - a path of bytes


def is_picture(name: bytes) -> bool:
    """Tell whether a file's ending is a picture's."""
    return name.lower().endswith(ENDINGS)

"""Pictures that a table lists, with a class, several labels or numbers for each."""

from __future__ import annotations

import difflib
import math
import os
import posixpath
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import field_validator, model_validator

from vit_cli.data.doubts import SEPARATOR, check_there, doubt_task
from vit_cli.data.samples import Files, Labels, PackedNames, listed
from vit_cli.data.sheet import Sheet, open_sheet
from vit_cli.errors import DataError
from vit_cli.section import DataPath, Section, TaskName

IMAGE_NAMES = ("image", "path", "file", "filename", "image_path", "img")
TARGET_NAMES = ("label", "labels", "class", "target", "value")
MARKS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


class Table(Section):
    """Pictures that a table lists: a .csv, .tsv or .parquet file with a row for each, and their names on top.

    `image` is the column of paths, which count from `root` (the table's own folder) and do not leave it. `target` is a
    column of classes, of labels with a `separator` ("|") between them, or of numbers; `targets` are several columns of
    numbers, or of 0 and 1. Columns with usual names need not be named.
    """

    either: ClassVar = (("target", "targets"),)

    name: Literal["table"] = "table"
    file: DataPath
    root: DataPath | None = None
    image: str | None = None
    target: str | None = None
    targets: tuple[str, ...] | None = None
    separator: str | None = None

    @field_validator("target", mode="before")
    @classmethod
    def names_one_column(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            raise ValueError(f"names one column; for several write targets: [{', '.join(map(str, value))}]")  # noqa: TRY004
        return value

    @model_validator(mode="after")
    def has_one_sort_of_target(self) -> Table:
        if self.target is not None and self.targets is not None:
            raise ValueError("give one of target and targets, not both")
        if self.separator == "" or self.targets == ():
            raise ValueError(f"{'separator' if self.separator == '' else 'targets'} is empty")
        if self.targets and len(set(self.targets)) < len(self.targets):
            raise ValueError("targets names a column twice")
        return self

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return f"table {self.file}"

    def open(self, task: TaskName = "classification") -> Files:
        """Read the table; the pictures are read as they are needed. Raises DataError, with the line, for what does not fit."""
        sheet = open_sheet(self.file)
        image = find_column(sheet, self.image, IMAGE_NAMES, "image")
        targets = self.find_targets(sheet, task)
        column = self.collector(targets, task)
        root = posixpath.normpath(str(self.root or self.file.parent))

        def paths() -> Iterator[bytes]:
            for place, cells in sheet.rows([image, *targets]):
                try:
                    column.add(cells[1:])
                    yield path_below(root, cells[0])
                except ValueError as error:
                    raise DataError(f"{place}: {error}") from error

        names = PackedNames(paths())
        if not len(names):
            raise DataError(f"{self.file} lists no image")
        classes, labels = column.finish()
        files = Files(root, names, labels, classes)
        if self.targets is None:
            doubt_task(f"the column {targets[0]!r} of {self.file}", classes, labels, task)
        check_there(files, sheet, image)
        return files

    def find_targets(self, sheet: Sheet, task: TaskName) -> list[str]:
        """Give the columns of targets; DataError if one is not there, or there are several where one is meant."""
        if self.targets is None:
            return [find_column(sheet, self.target, TARGET_NAMES, "target")]
        if task == "classification" and len(self.targets) > 1:
            raise DataError(
                f"{self.file}: classification takes one target, not {len(self.targets)}",
                "task: multilabel is for several labels, task: regression for several numbers",
            )
        return [find_column(sheet, name, (), "targets") for name in self.targets]

    def collector(self, targets: Sequence[str], task: TaskName) -> Column:
        """Give what gathers the targets of all rows."""
        if task == "regression":
            return Numbers(targets)
        if task == "classification":
            return Classes(targets[0])
        return LabelLists(self.separator or SEPARATOR) if self.targets is None else MarkColumns(targets)


def find_column(sheet: Sheet, name: str | None, usual: Sequence[str], key: str) -> str:
    """Give a column by its name, or without one the first that has a usual name. Raises DataError if it is not there."""
    found = name if name is not None else next((known for known in usual if known in sheet.columns), None)
    if found in sheet.columns:
        return found
    has = f"it has {listed(sheet.columns, 'column', 'columns')}"
    if found is None:
        raise DataError(
            f"{sheet.file} has no column with a usual name for `{key}`", f"{has}; say which: data.train.{key}=NAME"
        )
    parts = [part.strip() for part in found.split(",")]
    if len(parts) > 1 and set(parts) <= set(sheet.columns):
        raise DataError(f"{sheet.file} has no column {found!r}", f"several columns are targets: [{', '.join(parts)}]")
    near = difflib.get_close_matches(found, sheet.columns, n=1)
    raise DataError(f"{sheet.file} has no column {found!r}" + (f"; did you mean {near[0]!r}?" if near else ""), has)


def path_below(root: str, text: str) -> bytes:
    """Give a path from `root`, for one that may be whole; ValueError if it is empty or leaves `root`."""
    if not text or "\0" in text:
        raise ValueError("there is no image" if not text else f"{text!r} is no path")
    start = f"{root.rstrip('/')}/"
    whole = posixpath.normpath(text if text.startswith("/") else f"{start}{text}")
    if not whole.startswith(start):
        raise ValueError(f"the image {text!r} is outside of {root}")
    return os.fsencode(whole[len(start) :])


def read_number(text: str) -> float:
    """Read a finite number; ValueError says what is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no number" if text.strip() else "a number is missing")
    return value


class Column(Protocol):
    """Gathers the targets of all rows."""

    def add(self, cells: Sequence[str]) -> None:
        """Add a row; ValueError for a cell that can't be read."""

    def finish(self) -> tuple[list[str], Labels]:
        """Give names and labels."""


class Classes:
    """A class in each row; the names are sorted."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.numbers: dict[str, int] = {}
        self.seen = array("q")

    def add(self, cells: Sequence[str]) -> None:
        name = cells[0].strip()
        if not name:
            raise ValueError(f"there is no {self.column}")
        self.seen.append(self.numbers.setdefault(name, len(self.numbers)))

    def finish(self) -> tuple[list[str], Labels]:
        names = sorted(self.numbers)
        place = np.empty(len(names), dtype=np.int64)
        place[[self.numbers[name] for name in names]] = np.arange(len(names))
        return names, place[np.frombuffer(self.seen, dtype=np.int64)]


class LabelLists:
    """Any number of labels in each row, with a separator between them; the names are sorted."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self.numbers: dict[str, int] = {}
        self.rows, self.seen = array("q"), array("q")
        self.count = 0

    def add(self, cells: Sequence[str]) -> None:
        for name in filter(None, map(str.strip, cells[0].split(self.separator))):
            self.seen.append(self.numbers.setdefault(name, len(self.numbers)))
            self.rows.append(self.count)
        self.count += 1

    def finish(self) -> tuple[list[str], Labels]:
        names = sorted(self.numbers)
        marks = np.zeros((self.count, len(names)), dtype=np.float32)
        marks[np.array(self.rows, dtype=np.int64), np.array(self.seen, dtype=np.int64)] = 1
        return names, marks[:, [self.numbers[name] for name in names]]


class Cells:
    """A number from each of some columns in each row."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.seen = array("d")

    def read(self, text: str) -> float:
        """Read a cell; ValueError says what is wrong with it."""
        return read_number(text)

    def add(self, cells: Sequence[str]) -> None:
        for column, text in zip(self.columns, cells, strict=True):
            try:
                self.seen.append(self.read(text))
            except ValueError as error:
                raise ValueError(f"{column}: {error}") from error

    def table(self) -> Labels:
        """Give all numbers: (n, columns)."""
        return np.array(self.seen, dtype=np.float64).reshape(-1, len(self.columns))


class Numbers(Cells):
    """Finite numbers."""

    def finish(self) -> tuple[list[str], Labels]:
        return self.columns, self.table()


class MarkColumns(Cells):
    """0 and 1."""

    def read(self, text: str) -> float:
        mark = MARKS.get(text.strip().lower())
        if mark is None:
            raise ValueError(f"expected 0 or 1, not {text!r}")
        return mark

    def finish(self) -> tuple[list[str], Labels]:
        return self.columns, self.table().astype(np.float32)

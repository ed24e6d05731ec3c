"""Rows of a table file: text with separators, or Parquet."""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from vit_cli.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
BATCH = 10_000


class Sheet(Protocol):
    """A table with named columns."""

    file: Path
    columns: list[str]

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Give some cells of every row as text, and where it stands: "labels.csv:7". Raises DataError."""


def open_sheet(file: Path) -> Sheet:
    """Open a table. Raises DataError if it is not there, of another kind, or has no usual first row."""
    if not file.is_file():
        raise DataError(f"{file} is {'no file' if file.exists() else 'not there'}", f"{did_you_mean(file)}check `file`")
    ending = file.suffix.lower()
    if ending not in (*DELIMITERS, PARQUET):
        raise DataError(f"{file} is no table that vit reads", f"expected {', '.join(DELIMITERS)} or {PARQUET}")
    sheet = ParquetSheet(file) if ending == PARQUET else TextSheet(file, DELIMITERS[ending])
    twice = [name for name, count in Counter(sheet.columns).items() if count > 1]
    if twice:
        raise DataError(f"{file} has two columns {twice[0]!r}")
    return sheet


class TextSheet:
    """Lines of text in UTF-8, with the names of the columns in the first."""

    def __init__(self, file: Path, delimiter: str) -> None:
        self.file = file
        self.delimiter = delimiter
        self.columns = [name.strip() for name in next((cells for _, cells in self.lines()), [])]
        if not self.columns:
            raise DataError(f"{file} is empty", "the first line names the columns, then comes a line for each image")

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """Give the number and the cells of every line that is not empty."""
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as text:
                reader = csv.reader(text, delimiter=self.delimiter, strict=True)
                yield from ((reader.line_num, cells) for cells in reader if cells)
        except UnicodeDecodeError as error:
            raise DataError(f"{self.file} is not in UTF-8", "save it as CSV in UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{self.file}:{reader.line_num}: {error}") from error
        except OSError as error:
            raise DataError(f"{self.file} can't be read: {error.strerror}") from error

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Give some cells of every line but the first."""
        chosen = [self.columns.index(name) for name in columns]
        lines = self.lines()
        next(lines)
        for number, cells in lines:
            if len(cells) != len(self.columns):
                raise DataError(f"{self.file}:{number}: {len(cells)} cells, but there are {len(self.columns)} columns")
            yield f"{self.file}:{number}", [cells[place] for place in chosen]


class ParquetSheet:
    """A Parquet file, read batch by batch; needs pyarrow, which comes with the extra `hf`."""

    def __init__(self, file: Path) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise DataError(
                f"reading {file} needs pyarrow", "pip install 'vit-cli[hf]', or save the table as CSV"
            ) from error
        self.file = file
        self.faults = (ArrowException, OSError)
        try:
            self.content = parquet.ParquetFile(file)
        except self.faults as error:
            raise self.explain(error) from error
        self.columns: list[str] = self.content.schema_arrow.names

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Give some cells of every row, counted from 1."""
        number = 0
        try:
            for batch in self.content.iter_batches(BATCH, columns=list(columns)):
                for cells in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    place = f"{self.file} row {number}"
                    yield place, [as_text(cell, place) for cell in cells]
        except self.faults as error:
            raise self.explain(error) from error

    def explain(self, error: Exception) -> DataError:
        """Say that the file is damaged."""
        return DataError(f"{self.file} can't be read: {str(error)[:200]}")


def did_you_mean(path: Path) -> str:
    """Name what is beside a path that is not there and has nearly its name: "did you mean labels.csv? "; else nothing."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean {near[0]}? " if near and not path.exists() else ""


def as_text(value: Any, place: str) -> str:
    """Write a cell as it would stand in a text file; DataError, with its place, for one that holds several values."""
    if isinstance(value, list | dict | bytes):
        kind = {list: "a list", dict: "a structure", bytes: "bytes"}[type(value)]
        raise DataError(f"{place}: expected text or a number, not {kind}", "several labels are one text: dog|cat")
    return "" if value is None else str(value)

"""Signs of a mistake in a table: it was written for another task, or lists pictures that are not there."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np

from vit_cli.data.samples import Files, Labels, listed, printable
from vit_cli.data.sheet import Sheet
from vit_cli.errors import DataError
from vit_cli.section import TaskName

SEPARATOR = "|"
FEW = 5
"""Fewer classes may be numbers that happen to differ."""
MOST_LOOKED_FOR, SAMPLE, NAMED = 100_000, 10_000, 3
"""So many files are all looked for; of more a sample. So many that are missing are named."""


def doubt_task(place: str, names: Sequence[str], labels: Labels, task: TaskName) -> None:
    """Raise DataError, naming the column's `place`, for labels that look like those of another task than `task`.

    `labels` are class numbers (n,), or marks (n, K) of the labels that were read from one column.
    """
    first = sorted(names, key=lambda name: SEPARATOR not in name)
    shown = listed(first, "class" if task == "classification" else "label", "", show=3).partition(": ")[2]
    if task == "classification" and look_like_lists(names):
        raise DataError(
            f"{place} holds several labels in a cell: {shown}", "task: multilabel learns each of them by itself"
        )
    if task == "classification":
        is_likely = len(names) >= FEW and 2 * len(names) > len(labels)  # nearly every image has a class of its own
    else:
        is_likely = task == "multilabel" and bool((labels.sum(axis=1) == 1).all())
    if is_likely and look_like_decimals(names):
        raise DataError(f"{place} holds numbers: {shown}", "task: regression learns numbers")


def look_like_lists(names: Sequence[str]) -> bool:
    """Tell lists of labels from names: each part of one is a name, too, or most have parts and one stands in several places.

    Names whose places have a meaning are no lists: "bird|owl", "bird|hawk", and even "bird" itself beside them.
    """
    lists = [[part.strip() for part in name.split(SEPARATOR)] for name in names if SEPARATOR in name]
    if any(set(parts) <= set(names) for parts in lists):
        return True
    places: dict[str, set[int]] = defaultdict(set)
    for parts in lists:
        for place, part in enumerate(parts):
            places[part].add(place)
    return 2 * len(lists) >= len(names) and any(len(found) > 1 for found in places.values())


def look_like_decimals(names: Sequence[str]) -> bool:
    """Tell whether all names are finite numbers, of which some are not whole."""
    try:
        values = np.array([float(name) for name in names])
    except ValueError:
        return False
    return bool(np.isfinite(values).all() and (values != np.floor(values)).any())


def check_there(files: Files, sheet: Sheet, image: str) -> None:
    """Raise DataError, with the lines of the first few, if files that the column `image` names are not there.

    Of more than 100,000 rows a sample that is spread over all of them is looked for.
    """
    rows = range(len(files))
    if len(rows) > MOST_LOOKED_FOR:
        rows = rows[:: -(-len(rows) // SAMPLE)]
    missing = [row for row in rows if not is_there(files.path(row))]
    if not missing:
        return
    wanted = set(missing[:NAMED])
    places = [place for row, (place, _) in enumerate(islice(sheet.rows([image]), max(wanted) + 1)) if row in wanted]
    named = ", ".join(f"{place} {printable(files.path(row))}" for place, row in zip(places, missing, strict=False))
    more = f" and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
    raise DataError(
        f"{len(missing):,} of {len(rows):,} images that {sheet.file} lists are not there: {named}{more}",
        "paths count from `root`, which is the table's own folder if it is not set",
    )


def is_there(path: bytes) -> bool:
    """Tell whether a file is there; one that merely can't be looked at is."""
    try:
        os.stat(path)  # noqa: PTH116 - pathlib knows no paths of bytes
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True

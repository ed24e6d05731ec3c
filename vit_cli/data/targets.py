"""The labels that a task needs: class numbers, marks, or numbers; matched by name, and brought to one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vit_cli.data.digits import Digits
from vit_cli.data.samples import Samples, View, count_images, listed, relabel
from vit_cli.data.source import Source
from vit_cli.data.table import Table, read_number
from vit_cli.errors import DataError
from vit_cli.section import Scale, TaskName


def open_source(source: Source, task: TaskName) -> Samples:
    """Open images with class numbers (n,), marks (n, K) of 0 and 1, or numbers (n, T) in the user's units.

    A source that knows classes alone has one mark to each image, or the number that the name of its class is. Raises
    DataError if the source has no such labels.
    """
    if isinstance(source, Table | Digits):
        return source.open(task)
    samples = source.open()
    if task == "classification":
        return samples
    return as_marks(samples) if task == "multilabel" else as_numbers(samples)


def tells_labels(source: Source) -> bool:
    """Tell whether a source knows more of an image than one class."""
    return isinstance(source, Table | Digits)


def as_marks(samples: Samples) -> Samples:
    """Mark the class of each image."""
    marks = np.eye(len(samples.classes), dtype=np.float32)[samples.labels]
    return View(samples, np.arange(len(samples)), marks, samples.classes)


def as_numbers(samples: Samples, name: str = "value") -> Samples:
    """Read the names of classes as numbers: folders 1, 2, 3.5. Raises DataError if one is none."""
    try:
        values = np.array([read_number(text) for text in samples.classes])
    except ValueError as error:
        raise DataError(
            f"the class {error}, and regression learns numbers",
            "name the class folders by their numbers, or write a table: data.train={name: table, file: ..., target: ...}",
        ) from error
    return View(samples, np.arange(len(samples)), values[samples.labels][:, None], [name])


def match(samples: Samples, names: Sequence[str], what: str, task: TaskName) -> Samples:
    """Number the labels by another list of names. Raises DataError, naming `what`, where they can't be matched.

    As classes without images, labels may be missing: no image has them. Targets may not.
    """
    if task == "classification" or samples.classes == tuple(names):
        return relabel(samples, names, what)
    must_fit = task == "regression"
    counts = zip(samples.classes, count_images(samples), strict=True)
    unknown = [name for name, count in counts if name not in names and (count or must_fit)]
    missing = [name for name in names if must_fit and name not in samples.classes]
    word, words = ("label", "labels") if task == "multilabel" else ("target", "targets")
    if unknown:
        problem = f"{what} has {listed(unknown, word, words)} that training does not know"
    elif missing:
        problem = f"{what} lacks {listed(missing, word, words)}"
    else:
        places = {name: place for place, name in enumerate(samples.classes)}
        empty = np.zeros(len(samples), dtype=samples.labels.dtype)
        columns = [samples.labels[:, places[name]] if name in places else empty for name in names]
        return View(samples, np.arange(len(samples)), np.stack(columns, axis=1), names)
    raise DataError(problem, f"training knows {listed(names, word, words)}; {words} are matched by name")


def fit_scale(samples: Samples) -> Scale:
    """Give mean and standard deviation of each target. Raises DataError for a target that is always the same, or too large."""
    labels = samples.labels
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = labels.mean(axis=0), labels.std(axis=0)
    large = [name for name, spread in zip(samples.classes, std.tolist(), strict=True) if not math.isfinite(spread)]
    if large:
        raise DataError(f"the numbers are too large for a standard deviation: {listed(large, 'target', 'targets')}")
    is_same = (labels == labels[0]).all(axis=0) | (std == 0)  # rounding gives equal numbers a deviation
    same = [name for name, constant in zip(samples.classes, is_same.tolist(), strict=True) if constant]
    if same:
        raise DataError(
            f"all training images have the same {listed(same, 'target', 'targets')}; nothing can be learned"
        )
    return Scale(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def standardise(samples: Samples, scale: Scale | None) -> Samples:
    """Bring numbers in the user's units to `scale`, in float32; without one leave everything as it is."""
    if scale is None:
        return samples
    labels = ((samples.labels - np.array(scale.mean)) / np.array(scale.std)).astype(np.float32)
    return View(samples, np.arange(len(samples)), labels, samples.classes)

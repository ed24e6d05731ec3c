"""How well classes can be told by a model's frozen features: which protocols, on which images, with which scores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vit_cli.checkpoint.model import Saved
from vit_cli.data.folder import TRAIN_NAMES
from vit_cli.data.open import Splits, open_splits
from vit_cli.data.source import source_from_path, with_columns
from vit_cli.errors import UsageError
from vit_cli.evaluate.fewshot import Labels, draw_shots, fit_ridge
from vit_cli.evaluate.images import find_split
from vit_cli.evaluate.knn import vote
from vit_cli.evaluate.linear import ITERATIONS, fit_linear
from vit_cli.evaluate.saved import read_data, read_task
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.schema import Data

Protocol = Literal["fewshot", "knn", "linear"]
NEIGHBOURS = (10, 20, 100, 200)


class Side(NamedTuple):
    """The features of images (n, d), and their classes (n,)."""

    features: NDArray[np.float32]
    labels: Labels


@dataclass(frozen=True)
class Score:
    """How many images to test on a protocol tells right, in per cent: for each seed, or once where nothing is drawn.

    `setting` is the protocol's number: shots, neighbours, or the strength of the penalty that it chose.
    """

    protocol: Protocol
    setting: float
    per_seed: tuple[float, ...]
    seconds: float
    note: str = ""

    @property
    def top1(self) -> float:
        """The mean over the seeds."""
        return fmean(self.per_seed)


class LeftOut(NamedTuple):
    """What there are too few images for, and why."""

    protocol: Protocol
    setting: float | None
    reason: str


def judge(
    train: Side,
    test: Side,
    protocol: Protocol,
    names: Sequence[str],
    shots: Sequence[int],
    seeds: int,
    device: torch.device,
) -> Iterator[Score | LeftOut]:
    """Learn the classes called `names` from `train` by a protocol, and tell those of `test`."""
    if protocol == "fewshot":
        return judge_shots(train, test, names, shots, seeds)
    return judge_neighbours(train, test, device) if protocol == "knn" else judge_linear(train, test)


def judge_shots(
    train: Side, test: Side, names: Sequence[str], all_shots: Sequence[int], seeds: int
) -> Iterator[Score | LeftOut]:
    """Judge by ridge regression on so many images of each class, drawn with each seed.

    A number that a class has too few images for is left out: it would not be what it is called.
    """
    counts = np.bincount(train.labels, minlength=len(names))
    fewest = min(np.flatnonzero(counts).tolist(), key=lambda label: int(counts[label]))
    for shots in all_shots:
        if counts[fewest] < shots:
            reason = f"the class {names[fewest]} has {counts[fewest]} to learn from"
            yield LeftOut("fewshot", shots, reason)
            continue
        begin = time.monotonic()
        draws = [draw_shots(train.labels, shots, seed) for seed in range(seeds)]
        probes = (fit_ridge(train.features[rows], train.labels[rows], len(names)) for rows in draws)
        per_seed = tuple(percent(probe.predict(test.features), test.labels) for probe in probes)
        yield Score("fewshot", shots, per_seed, time.monotonic() - begin)


def judge_neighbours(train: Side, test: Side, device: torch.device) -> Iterator[Score | LeftOut]:
    """Judge by the votes of the nearest images; `seconds` are those of all numbers of neighbours, found together."""
    begin, images = time.monotonic(), len(train.labels)
    fitting = [k for k in NEIGHBOURS if k <= images]
    told = vote(*train, test.features, fitting, device) if fitting else {}
    seconds = time.monotonic() - begin
    for k in NEIGHBOURS:
        if k in told:
            yield Score("knn", k, (percent(told[k], test.labels),), seconds)
        else:
            yield LeftOut("knn", k, f"there are {images} images to learn from")


def judge_linear(train: Side, test: Side) -> Iterator[Score | LeftOut]:
    """Judge by logistic regression on all images."""
    begin = time.monotonic()
    try:
        probe = fit_linear(*train)
    except ValueError as error:
        yield LeftOut("linear", None, str(error))
        return
    top1 = percent(probe.predict(test.features), test.labels)
    note = "" if probe.converged else f"the solver did not end within {ITERATIONS} steps"
    yield Score("linear", probe.penalty, (top1,), time.monotonic() - begin, note)


def percent(predicted: Labels, labels: Labels) -> float:
    """Give the share of predictions that are right, in per cent."""
    return 100.0 * float((predicted == labels).mean())


def open_own_sides(saved: Saved) -> Splits:
    """Open the images that a model was trained and judged on. Raises UsageError if it does not tell, or told no classes."""
    data = read_data(saved)
    if data is None:
        raise UsageError(
            f"{saved.path} does not say what data it was trained on", "Name a folder of images: --data DIR"
        )
    task = read_task(saved).name
    if task != "classification":
        raise UsageError(
            f"{saved.path} was trained for {task}, and a probe tells classes", "Name images of classes: --data DIR"
        )
    return part(data, saved.about.get("held"), saved.class_names)


def open_sides(path: Path, split: str | None, saved: Saved) -> Splits:
    """Open any images that `--data` can name, to learn from and to test on; their classes may be others than the model's.

    Without images of their own to test on, a part of each class is held out, as training does it. `split` names other
    images to test on. Raises UsageError and DataError as `open_folder_data` does.
    """
    if split is None:
        train, test = source_from_path(path)
    else:
        name = next((name for name in TRAIN_NAMES if (path / name).is_dir()), TRAIN_NAMES[0])
        train, test = find_split(path, name), find_split(path, split)
    known = (saved.about.get("data") or {}).get("train")
    sources = {"train": with_columns(train, known), "val": with_columns(test, known) if test else None}
    return part(read_section(Data, sources))


def part(data: Data, held: Mapping[str, int] | None = None, classes: Sequence[str] | None = None) -> Splits:
    """Open the images to learn from and to test on, each with one class."""
    return open_splits(data.train, data.val, data.parting, held, classes)

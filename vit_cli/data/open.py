"""Open the images to train and to validate on, with one list of classes for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vit_cli.data.imagenet import name_classes
from vit_cli.data.samples import Samples
from vit_cli.data.source import Source
from vit_cli.data.split import HeldOut, Parting, Thresholds, hold_out, leave_out
from vit_cli.data.targets import fit_scale, match, open_source, standardise
from vit_cli.errors import DataError
from vit_cli.section import Scale, TaskName


@dataclass(frozen=True)
class Splits:
    """What a run trains and validates on; `held` is None if validation has a source of its own.

    `classes` are the names of what the model tells: classes, labels or targets, whose numbers are brought to `scale`.
    """

    train: Samples
    val: Samples
    classes: tuple[str, ...]
    held: HeldOut | None
    title: str
    task: TaskName = "classification"
    scale: Scale | None = None
    parting: Parting | None = None


def open_splits(
    train: Source,
    val: Source | None,
    parting: Parting,
    held: Thresholds | None = None,
    classes: Sequence[str] | None = None,
    task: TaskName = "classification",
    scale: Scale | None = None,
) -> Splits:
    """Open training images, and validation images from `val` or else those training images that `parting` holds out.

    `held` are the thresholds of a checkpoint on the same images: those of the classes it knows stay, so that what was
    held out stays so. `classes` is its list of classes, which gives the order, and `scale` that of its targets, where
    training has the very same ones; else the training images give the scale. Labels are matched by name. Raises
    DataError if validation has a class that training lacks or a side would be empty.
    """
    images = open_source(train, task)
    if classes is not None and set(classes) == set(images.classes):
        images = match(images, classes, f"data.train ({train.title})", task)
    else:
        scale = None
    if not images.classes:
        raise DataError(f"no image of {train.title} has a label", "there is nothing to learn")
    if task == "classification" and len(images.classes) < 2:
        raise DataError(f"{train.title} has one class only: {images.classes[0]}", "there is nothing to tell apart")
    if val is not None:
        judged = match(open_source(val, task), images.classes, f"data.val ({val.title})", task)
        parts = leave_out(images, parting.fraction), judged
        check_filled(parts[0], train.title)
        check_filled(parts[1], val.title)
        parted = None
    else:
        parts, parted = part(images, parting, held, train.title)
    if task == "regression":
        scale = scale or fit_scale(parts[0])
    kept, validation = (standardise(samples, scale) for samples in parts)
    return Splits(kept, validation, images.classes, parted, train.title, task, scale, parting)


def part(
    images: Samples, parting: Parting, held: Thresholds | None, title: str
) -> tuple[tuple[Samples, Samples], HeldOut]:
    """Give the images to train on and those held out. Raises DataError if a side would be empty."""
    if parting.share == 0 and not held:
        raise DataError("there is nothing to validate on", "set data.val, or data.hold_out above 0")
    parted = hold_out(images, parting.share, held, parting.fold)
    kept, validation = parted.split(images)
    if not len(validation) or not len(kept):
        raise DataError(
            f"no image of {title} can be held out: {len(images)} images, {len(images.classes)} classes",
            "add images to each class, or set data.val",
        )
    return (leave_out(kept, parting.fraction, parting.fold), validation), parted


def open_evaluation(
    source: Source, classes: Sequence[str], task: TaskName = "classification", scale: Scale | None = None
) -> Samples:
    """Open images to evaluate on, labelled by the model's `classes` and `scale`. Raises DataError if there are others."""
    images = match(name_classes(open_source(source, task), classes), classes, source.title, task)
    check_filled(images, source.title)
    return standardise(images, scale)


def check_filled(samples: Samples, title: str) -> None:
    """Raise DataError if there is no image."""
    if not len(samples):
        raise DataError(f"{title} holds no image")

"""Open the images to train and to validate on, with one list of classes for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vit_cli.data.samples import Samples, relabel
from vit_cli.data.source import Source
from vit_cli.data.split import HeldOut, hold_out
from vit_cli.errors import DataError


@dataclass(frozen=True)
class Splits:
    """What a run trains and validates on; `held` is None if validation has a source of its own."""

    train: Samples
    val: Samples
    classes: tuple[str, ...]
    held: HeldOut | None
    title: str


def open_splits(
    train: Source,
    val: Source | None,
    share: float,
    held: Mapping[str, int] | None = None,
    classes: Sequence[str] | None = None,
) -> Splits:
    """Open training images, and validation images from `val` or else a `share` of the training images that is held out.

    `held` are the thresholds of a checkpoint on the same images: those of the classes it knows stay, so that what was
    held out stays so. `classes` is its list of classes, which gives the order where training has the very same ones.
    Labels are matched by name. Raises DataError if validation has a class that training lacks or a side would be empty.
    """
    images = train.open()
    if classes is not None and set(classes) == set(images.classes):
        images = relabel(images, classes, f"data.train ({train.title})")
    if len(images.classes) < 2:
        raise DataError(f"{train.title} has one class only: {images.classes[0]}", "there is nothing to tell apart")
    if val is not None:
        validation = relabel(val.open(), images.classes, f"data.val ({val.title})")
        check_filled(images, train.title)
        check_filled(validation, val.title)
        return Splits(images, validation, images.classes, None, train.title)
    if share == 0 and not held:
        raise DataError("there is nothing to validate on", "set data.val, or data.hold_out above 0")
    parted = hold_out(images, share, held)
    kept, validation = parted.split(images)
    if not len(validation) or not len(kept):
        raise DataError(
            f"no image of {train.title} can be held out: {len(images)} images, {len(images.classes)} classes",
            "add images to each class, or set data.val",
        )
    return Splits(kept, validation, images.classes, parted, train.title)


def open_evaluation(source: Source, classes: Sequence[str]) -> Samples:
    """Open images to evaluate on, labelled by the model's `classes`. Raises DataError if there are others."""
    images = relabel(source.open(), classes, source.title)
    check_filled(images, source.title)
    return images


def check_filled(samples: Samples, title: str) -> None:
    """Raise DataError if there is no image."""
    if not len(samples):
        raise DataError(f"{title} holds no image")

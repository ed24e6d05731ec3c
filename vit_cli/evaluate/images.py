"""The images that a saved model is judged on: its own, or others."""

from __future__ import annotations

import glob
from pathlib import Path

from vit_cli.checkpoint.model import Saved
from vit_cli.data.open import open_evaluation, open_splits
from vit_cli.data.samples import Samples, UnknownClassError, count_images, listed
from vit_cli.data.source import Plain, Source, parquet, source_from_path, with_columns
from vit_cli.data.split import leave_out
from vit_cli.data.targets import match, tells_labels
from vit_cli.errors import DataError, UsageError
from vit_cli.evaluate.class_names import are_numbers, explain_numbers
from vit_cli.evaluate.saved import read_data, read_scale, read_task
from vit_cli.recipe.plain import read_section


def open_own_data(saved: Saved, split: str | None = None) -> Samples:
    """Open the images that the model's recipe names: to validate on, or with `split` "train" to learn from.

    What was held out from training is known to the checkpoint.
    """
    data = read_data(saved)
    if data is None:
        raise UsageError(
            f"{saved.path} does not say what data it was trained on", "Name a folder of images: --data DIR"
        )
    if split not in (None, "train", "val"):
        raise UsageError(
            f"--split {split}: a model's own data has the splits train and val", "Other data: --data DIR --split NAME"
        )
    names, task, scale = saved.class_names, read_task(saved).name, read_scale(saved)
    if data.val is not None and split == "train":
        return leave_out(open_evaluation(data.train, names, task, scale), data.fraction)
    if data.val is not None:
        return open_evaluation(data.val, names, task, scale)
    splits = open_splits(data.train, None, data.parting, saved.about.get("held"), names, task, scale)
    return match(splits.train if split == "train" else splits.val, names, splits.title, task)


def open_folder_data(path: Path, split: str | None, saved: Saved) -> Samples:
    """Open all images of any folder or file that `--data` can name, its classes matched by name with the model's.

    `split` names a subfolder, or how the names of parquet files begin; without it, validation images are preferred.
    Raises UsageError for a `split` that is a path, DataError for a place without images, and for classes that the model
    lacks, or has no names for.
    """
    train, val = source_from_path(path) if split is None else (find_split(path, split), None)
    section = with_columns(val or train, (saved.about.get("data") or {}).get("train"))
    source = read_section(Source, section)
    try:
        samples = open_evaluation(source, saved.class_names, read_task(saved).name, read_scale(saved))
    except UnknownClassError as error:
        if not are_numbers(saved):
            raise
        raise DataError(
            f"{saved.path} has a head for {len(saved.class_names)} classes and no names for them, so they can't be matched "
            f"with those of {source.title}",
            explain_numbers(saved),
        ) from error
    check_labels(source, samples, saved)
    return samples


def find_split(path: Path, split: str) -> Plain:
    """Give the section of a subfolder, or of the parquet files whose names begin so. Raises UsageError for a path."""
    if split in ("", "..") or split != Path(split).name:
        raise UsageError(f"--split {split}: expected one name, without folders", "Name the place itself: --data DIR")
    if any(path.glob(pattern := f"{glob.escape(split)}*.parquet")):
        return parquet(path.absolute(), pattern)
    train, val = source_from_path(path / split)
    return val or train


def check_labels(source: Source, samples: Samples, saved: Saved) -> None:
    """Raise DataError for classes of images that tell nothing of some labels of a model that learned several to an image.

    Each image would count as not having these labels, which nobody has looked for.
    """
    data = read_data(saved)
    if read_task(saved).name != "multilabel" or tells_labels(source) or (data and not tells_labels(data.train)):
        return
    counts = zip(samples.classes, count_images(samples), strict=True)
    if absent := [name for name, count in counts if not count]:
        raise DataError(
            f"{source.title} has one class to an image, and tells nothing of {listed(absent, 'label', 'labels')}",
            "every image would count as not having them; write a table of all labels of each image: --data labels.csv",
        )

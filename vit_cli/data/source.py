"""The sources that a recipe can name, and which of them fits a path."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from vit_cli.data.digits import Digits
from vit_cli.data.folder import TRAIN_NAMES, VAL_NAMES, Folder
from vit_cli.data.hf import HuggingFace
from vit_cli.data.samples import listed
from vit_cli.data.shards import Shards, check_finished, is_pack
from vit_cli.data.sheet import DELIMITERS, did_you_mean
from vit_cli.data.synthetic import Synthetic
from vit_cli.data.table import Table
from vit_cli.data.torchvision_sets import Torchvision
from vit_cli.errors import DataError

Source = Annotated[
    Folder | Digits | HuggingFace | Torchvision | Synthetic | Table | Shards, Field(discriminator="name")
]

Plain = dict[str, Any]


def source_from_path(path: Path) -> tuple[Plain, Plain | None]:
    """Give the sections for `--data PATH`, of training and of validation (None: no images of its own).

    Understands class folders, shards with their index, a folder of split folders of either, parquet files named after
    their split, a single parquet file, and a table of text. Raises DataError if the path is none of these, is an
    unfinished pack, or has a training split without anything to validate on.
    """
    path = path.expanduser().absolute()
    if path.is_file() and path.suffix == ".parquet":
        return parquet(path.parent, glob.escape(path.name)), None
    if path.is_file() and path.suffix.lower() in DELIMITERS:
        return {"name": "table", "file": str(path)}, None
    if not path.is_dir():
        raise DataError(
            f"{path} is {'no folder, no parquet file and no table' if path.exists() else 'not there'}",
            did_you_mean(path).strip(),
        )
    check_finished(path)
    for place in (path, path / "data"):
        if any(place.glob("*.parquet")):
            return parquet_splits(place)
    if is_pack(path):
        return {"name": "shards", "path": str(path)}, None
    folders = {entry.name.lower(): entry.name for entry in sorted(path.iterdir()) if entry.is_dir()}
    train = next((folders[name] for name in TRAIN_NAMES if name in folders), None)
    if train is None:
        return {"name": "folder", "root": str(path)}, None
    val = next((folders[name] for name in VAL_NAMES if name in folders), None)
    if val is None:
        raise DataError(
            f"{path} has {train!r}, but nothing to validate on: {listed(list(folders.values()), 'folder', 'folders')}",
            f"add a folder 'val', or give {path / train} to have a part of it held out",
        )
    return split_section(path, train), split_section(path, val)


def split_section(path: Path, split: str) -> Plain:
    """Give the section of a split folder: of class folders, or of shards."""
    if is_pack(path / split):
        return {"name": "shards", "path": str(path), "split": split}
    return {"name": "folder", "root": str(path), "split": split}


def parquet_splits(place: Path) -> tuple[Plain, Plain | None]:
    """Find training and validation files by the start of their names; without such names, all are for training."""
    if not any(place.glob("train*.parquet")):
        return parquet(place, "*.parquet"), None
    for start in ("val*", "dev*", "test*"):
        if any(place.glob(f"{start}.parquet")):
            return parquet(place, "train*.parquet"), parquet(place, f"{start}.parquet")
    return parquet(place, "train*.parquet"), None


def parquet(place: Path, pattern: str) -> Plain:
    """Give the section for the files in a folder that a pattern fits."""
    return {"name": "hf", "path": f"{glob.escape(str(place))}/{pattern}"}


def with_columns(section: Plain, known: Plain | None) -> Plain:
    """Read a table by the columns of the one that is known, if that is a table; anything else stays as it is."""
    if known is None or not section["name"] == known["name"] == "table":
        return section
    return known | {"root": None} | section

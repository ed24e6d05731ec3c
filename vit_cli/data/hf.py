"""Image data sets of Hugging Face: from the hub, or from parquet, Arrow and picture files here."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ValidationInfo

from vit_cli.data.samples import listed, printable
from vit_cli.errors import DataError
from vit_cli.section import Section, resolve_path

FORMATS = {".parquet": "parquet", ".arrow": "arrow"}
IMAGE_NAMES = ("image", "img", "images", "picture")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")


def resolve_local(value: Any, info: ValidationInfo) -> Any:
    """Make a path here absolute; leave the name of a data set on the hub alone."""
    if not isinstance(value, str):
        return value
    here = str(resolve_path(value, info))
    is_local = value.startswith((".", "~", "/")) or Path(value).suffix in FORMATS or glob.has_magic(value)
    return here if is_local or Path(here).exists() else value


class HuggingFace(Section):
    """A data set of Hugging Face `datasets`: `path` is a name on the hub, a folder, a file or a pattern of files.

    Needs the extra `hf`. Parquet is converted once, into that library's own cache (HF_HOME), and then read from the
    disk as needed.
    """

    name: Literal["hf"] = "hf"
    path: Annotated[str, BeforeValidator(resolve_local)]
    split: str = "train"
    image: str | None = None
    label: str | None = None
    config: str | None = None

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return f"{self.path} ({self.split})"

    def open(self) -> HuggingFaceSamples:
        """Open it. Raises DataError if it is not there or has no such split or column."""
        table = load(self.path, self.config, self.split)
        image = self.image or find_column(table, "image", "Image", IMAGE_NAMES)
        label = self.label or find_column(table, "label", "ClassLabel", LABEL_NAMES)
        for column in (image, label):
            if column not in table.column_names:
                raise DataError(
                    f"{self.path} has no column {column!r}", f"it has {listed(table.column_names, 'column', 'columns')}"
                )
        classes, labels = read_labels(table, label, self.path)
        return HuggingFaceSamples(self.path, table, image, labels, classes)


class HuggingFaceSamples:
    """Rows of an Arrow table that is mapped into memory; the encoded pictures are read as they are."""

    def __init__(self, title: str, table: Any, image: str, labels: NDArray[np.int64], classes: Sequence[str]) -> None:
        self.title = title
        self.table = table
        self.image = image
        self.column = table.data.column(image)
        self.labels = labels
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the column out: pickled on its own it would be copied, the table goes by the name of its file."""
        return {name: value for name, value in self.__dict__.items() if name != "column"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.column = self.table.data.column(self.image)

    def read(self, index: int) -> bytes:
        """Give an encoded picture; one that is missing is empty."""
        value = self.column[index].as_py()
        if isinstance(value, dict):
            if value["bytes"] is None and value["path"] and Path(value["path"]).is_file():
                return Path(value["path"]).read_bytes()
            value = value["bytes"]
        return value or b""

    def name(self, index: int) -> str:
        """Give the data set and the row."""
        return f"{printable(self.title.encode())} row {index}"

    def key(self, index: int) -> str:
        """Give the row."""
        return str(index)


def load(path: str, config: str | None, split: str) -> Any:
    """Open a `datasets.Dataset`, without progress bars, and without the web request by which it counts its use."""
    try:
        import datasets
    except ImportError as error:
        raise DataError("the data source 'hf' needs the package datasets", 'pip install "vit-cli[hf]"') from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    is_saved = any((Path(path) / name).exists() for name in ("state.json", "dataset_dict.json"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_saved:
                return pick(datasets.load_from_disk(path), split, path)
            if not Path(path).is_absolute() or Path(path).is_dir():
                return datasets.load_dataset(path, name=config, split=split)
            kind, files = find_files(path)
            return datasets.load_dataset(kind, data_files={split.partition("[")[0]: files}, split=split)
    except (OSError, ValueError, LookupError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} can't be opened as split {split!r}: {reason}", "check path, split and config"
        ) from error


def find_files(path: str) -> tuple[str, list[str]]:
    """Give the format and the files that a path or pattern means. Raises DataError if there are none."""
    files = sorted(glob.glob(path))  # noqa: PTH207 - the pattern may be absolute
    if not files:
        raise DataError(f"{path} is not there", "check `path`")
    kind = FORMATS.get(Path(files[0]).suffix)
    if kind is None:
        raise DataError(f"{path} is neither parquet nor Arrow", "give a folder to have its kind found out")
    return kind, [glob.escape(file) for file in files]


def pick(saved: Any, split: str, path: str) -> Any:
    """Take a split from what `save_to_disk` wrote: splits by name, or one data set without any."""
    if not isinstance(saved, dict):
        return saved
    if split not in saved:
        raise DataError(f"{path} has no split {split!r}", f"it has {listed(list(saved), 'split', 'splits')}")
    return saved[split]


def find_column(table: Any, what: str, kind: str, names: tuple[str, ...]) -> str:
    """Find the column of images or labels: the only one of that kind, else one with a usual name."""
    fitting = [name for name, feature in table.features.items() if type(feature).__name__ == kind]
    if len(fitting) == 1:
        return str(fitting[0])
    named = [name for name in names if name in (fitting or table.column_names)]
    if named:
        return named[0]
    raise DataError(
        f"it is not clear which column holds the {what}", f"set `{what}` to one of: {', '.join(table.column_names)}"
    )


def read_labels(table: Any, column: str, path: str) -> tuple[list[str], NDArray[np.int64]]:
    """Give class names and labels: the names that the data set brings, else the different values in order.

    Raises DataError, with the row, for a label that is missing or has no name.
    """
    import pyarrow as pa

    values = table.data.column(column)
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy())[0])
        raise DataError(f"{path} row {row} has no {column}", "choose a split with labels")
    if not (
        pa.types.is_integer(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    ):
        raise DataError(f"column {column!r} of {path} holds {values.type}, no labels", "set `label` to another column")
    names = getattr(table.features[column], "names", None)
    if names is None:
        found, labels = np.unique(np.asarray(values.to_pylist()), return_inverse=True)
        return [str(name) for name in found], labels.astype(np.int64)
    labels = values.to_numpy().astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if wrong.size:
        raise DataError(
            f"{path} row {wrong[0]} has {column} {labels[wrong[0]]}, but there are {len(names)} classes",
            "a split whose labels are kept secret has -1; choose one with labels",
        )
    return list(names), labels

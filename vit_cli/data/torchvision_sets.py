"""The image data sets that torchvision knows by name and can download."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.samples import Files, PackedNames, Pixels, Samples
from vit_cli.errors import DataError
from vit_cli.section import DataPath, Section


@dataclass(frozen=True)
class Kind:
    """How torchvision lays a data set out: its splits, how they are asked for, and where images and labels are.

    `pixels` and `labels` name the attributes that hold them; a set without `pixels` has its pictures in files: those
    with a `loader` give their path when that is `os.fspath`, else `files` names the attribute that lists them.
    """

    splits: tuple[str, ...]
    ask: Literal["train", "split", ""] = "split"
    pixels: str = ""
    labels: str = "targets"
    files: str = ""


TRAIN_TEST = ("train", "test")
TRAIN_VAL_TEST = ("train", "val", "test")
KINDS = {
    "CIFAR10": Kind(TRAIN_TEST, "train", pixels="data"),
    "CIFAR100": Kind(TRAIN_TEST, "train", pixels="data"),
    "MNIST": Kind(TRAIN_TEST, "train", pixels="data"),
    "FashionMNIST": Kind(TRAIN_TEST, "train", pixels="data"),
    "KMNIST": Kind(TRAIN_TEST, "train", pixels="data"),
    "USPS": Kind(TRAIN_TEST, "train", pixels="data"),
    "SVHN": Kind(("train", "test", "extra"), pixels="data", labels="labels"),
    "STL10": Kind(TRAIN_TEST, pixels="data", labels="labels"),
    "OxfordIIITPet": Kind(("trainval", "test"), files="_images", labels="_labels"),
    "Flowers102": Kind(TRAIN_VAL_TEST),
    "Food101": Kind(TRAIN_TEST),
    "DTD": Kind(TRAIN_VAL_TEST),
    "FGVCAircraft": Kind(("train", "val", "trainval", "test")),
    "Country211": Kind(("train", "valid", "test")),
    "RenderedSST2": Kind(TRAIN_VAL_TEST),
    "Imagenette": Kind(("train", "val")),
    "EuroSAT": Kind(("all",), ""),
    "SUN397": Kind(("all",), ""),
}
"""The data sets on offer."""


class Torchvision(Section):
    """A data set of torchvision. `split` defaults to the first that the set has; see `KINDS`."""

    name: Literal["torchvision"] = "torchvision"
    dataset: Literal[
        "CIFAR10",
        "CIFAR100",
        "MNIST",
        "FashionMNIST",
        "KMNIST",
        "USPS",
        "SVHN",
        "STL10",
        "OxfordIIITPet",
        "Flowers102",
        "Food101",
        "DTD",
        "FGVCAircraft",
        "Country211",
        "RenderedSST2",
        "Imagenette",
        "EuroSAT",
        "SUN397",
    ]
    root: DataPath
    split: str | None = None
    download: bool = True

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return f"{self.dataset} ({self.split or KINDS[self.dataset].splits[0]})"

    def open(self) -> Samples:
        """Open it, downloaded into `root` if it is not there and `download` says so. Raises DataError."""
        kind = KINDS[self.dataset]
        split = self.split or kind.splits[0]
        if split not in kind.splits:
            raise DataError(f"{self.dataset} has no split {split!r}", f"it has: {', '.join(kind.splits)}")
        dataset = self.load(kind, split)
        if kind.pixels:
            labels = np.asarray(getattr(dataset, kind.labels), dtype=np.int64)
            return Pixels(self.title, as_rows(dataset, kind), labels, class_names(dataset, labels))
        if kind.files:
            paths, numbers = getattr(dataset, kind.files), getattr(dataset, kind.labels)
        else:
            paths, numbers = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
        names = PackedNames(os.fsencode(os.path.relpath(path, self.root).replace(os.sep, "/")) for path in paths)
        labels = np.asarray(numbers, dtype=np.int64)
        return Files(str(self.root), names, labels, class_names(dataset, labels))

    def load(self, kind: Kind, split: str) -> Any:
        """Build torchvision's own object; what it prints and its progress bar are dropped."""
        from torchvision import datasets

        options: dict[str, Any] = {"root": self.root, "download": self.download}
        if kind.ask:
            options[kind.ask] = split == "train" if kind.ask == "train" else split
        if not kind.pixels and not kind.files:
            options["loader"] = os.fspath
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                self.root.mkdir(parents=True, exist_ok=True)
                return getattr(datasets, self.dataset)(**options)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            advice = "check the network" if self.download else "set download: true"
            raise DataError(f"{self.dataset} is not in {self.root}, and could not be had: {reason}", advice) from error


def as_rows(dataset: Any, kind: Kind) -> NDArray[np.uint8]:
    """Give the pixels as (n, h, w) or (n, h, w, 3); SVHN and STL10 keep their colours first."""
    pixels = np.asarray(getattr(dataset, kind.pixels), dtype=np.uint8)
    return pixels.transpose(0, 2, 3, 1) if pixels.ndim == 4 and pixels.shape[1] == 3 else pixels


def class_names(dataset: Any, labels: NDArray[np.int64]) -> Sequence[str]:
    """Give the names that the set knows, the first of several synonyms; else the numbers."""
    names = getattr(dataset, "classes", None)
    if names is None:
        return [str(number) for number in range(int(labels.max()) + 1)]
    return [str(name[0] if isinstance(name, tuple) else name) for name in names]

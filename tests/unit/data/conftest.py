"""Opens a small data set of every kind of source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.packs import pack, small_folder
from tests.unit.data.pictures import write_folder, write_mnist, write_parquet
from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.hf import HuggingFace
from vit_cli.data.samples import Samples, subset
from vit_cli.data.shards import Shards
from vit_cli.data.synthetic import Synthetic
from vit_cli.data.torchvision_sets import Torchvision


@pytest.fixture(autouse=True)
def cache_of_hugging_face(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what `datasets` converts out of the home folder."""
    try:
        import datasets
    except ImportError:
        return
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))


@pytest.fixture
def open_kind(tmp_path: Path) -> Callable[[str], Samples]:
    """Open 37 images of a kind of source."""

    def open_it(kind: str) -> Samples:
        if kind == "digits":
            return subset(Digits().open(), np.arange(37))
        if kind == "folder":
            return Folder(root=write_folder(tmp_path / "pictures", {"cat": 12, "dog": 25})).open()
        if kind == "shards":
            pack(small_folder(tmp_path / "pictures"), tmp_path / "pack")
            return Shards(path=str(tmp_path / "pack")).open()
        if kind == "hf":
            path = write_parquet(tmp_path / "train.parquet", [i % 3 for i in range(37)], ["a", "b", "c"])
            return HuggingFace(path=str(path)).open()
        if kind == "torchvision":
            return Torchvision(dataset="MNIST", root=write_mnist(tmp_path, 37), download=False).open()
        return Synthetic(classes=3, images=37, size=(8, 9), jpeg=True).open()

    return open_it

"""A saved model with what belongs to it: its data, its precision, its limits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.data.pictures import write_folder, write_parquet
from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import write_model
from vit_cli.data.samples import subset
from vit_cli.data.synthetic import Synthetic
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError, DataError, UsageError
from vit_cli.evaluate.images import open_folder_data, open_own_data
from vit_cli.evaluate.predict import predict_images
from vit_cli.evaluate.saved import Ready, count_workers, evaluate_saved, get_ready, write_predictions
from vit_cli.models.vit import Vit

ALONE = World(0, 1, torch.device("cpu"))


def save(folder: Path, data: dict[str, Any] | None = None, **about: Any) -> Ready:
    """Write the smallest model there is, for cats and dogs, and get it ready."""
    section = Vit(name="vit", width=8, depth=1, heads=1, patch=4, res=8)
    known = {
        "model": section.model_dump(mode="json"),
        "res": [8, 8],
        "class_names": ["cat", "dog"],
        "preprocess": Preprocess().model_dump(mode="json"),
        "data": data,
    }
    write_model(folder, section.build(2).state_dict(), known | about)
    return get_ready(folder, ALONE)


def folder_section(root: Path) -> dict[str, Any]:
    return {"name": "folder", "root": str(root)}


def test_the_largest_image_is_the_trainings_in_evaluation_and_prediction(tmp_path: Path) -> None:
    write_folder(tmp_path / "val", {"cat": 1, "dog": 1})
    path = tmp_path / "val/dog/000.png"
    Image.new("RGB", (20, 20)).save(path)
    data = {"train": {"name": "digits"}, "val": folder_section(tmp_path / "val")}
    for limit in (399, 400):
        ready = save(tmp_path / "model", data | {"max_pixels": limit})
        unreadable: list[str] = []
        predicted = list(predict_images(ready, [path], 1, unreadable))
        samples = open_own_data(ready.saved)
        if limit == 400:
            assert evaluate_saved(ready, samples, ALONE).scores["images"] == 2
            assert (len(predicted), unreadable) == (1, [])
        else:
            with pytest.raises(DataError, match=r"too many pixels: 20x20, data\.max_pixels is 399"):
                evaluate_saved(ready, samples, ALONE)
            assert "data.max_pixels is 399" in unreadable[0]


def test_the_precision_is_the_recipes(tmp_path: Path) -> None:
    assert save(tmp_path).precision == "fp32"
    assert save(tmp_path, recipe={"train": {"steps": 1, "batch_size": 1, "precision": "bf16"}}).precision == "bf16"
    with pytest.raises(CheckpointError, match="precision"):
        save(tmp_path, recipe={"train": {"steps": 1, "batch_size": 1, "precision": "fp7"}})


def test_validation_images_of_their_own_are_opened_without_those_of_training(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "val", {"dog": 3})
    data = {key: folder_section(tmp_path / key) for key in ("train", "val")}
    saved = save(tmp_path / "model", data).saved
    assert len(open_own_data(saved, "train")) == 4
    half = save(tmp_path / "half", data | {"fraction": 0.5}).saved
    assert open_own_data(half, "train").labels.tolist() == [0, 1]
    shutil.rmtree(tmp_path / "train")
    assert open_own_data(saved).labels.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="train"):
        open_own_data(saved, "train")


def test_own_data_with_a_new_class_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 4, "dog": 4, "eel": 4})
    saved = save(tmp_path / "model", {"train": folder_section(tmp_path / "train")}).saved
    with pytest.raises(DataError, match="1 class: eel that training does not know"):
        open_own_data(saved)


@pytest.mark.parametrize("split", ["/x", "..", ".", "a/b", "a/", ""])
def test_a_split_is_a_name_and_no_path(tmp_path: Path, split: str) -> None:
    with pytest.raises(UsageError, match="expected one name"):
        open_folder_data(tmp_path, split, save(tmp_path / "model").saved)


def test_a_split_and_a_place_are_no_patterns(tmp_path: Path) -> None:
    saved = save(tmp_path / "model").saved
    with pytest.raises(DataError, match="is not there"):
        open_folder_data(tmp_path, "**x", saved)
    write_folder(tmp_path / "[a]/**x", {"cat": 1, "dog": 1})
    assert len(open_folder_data(tmp_path / "[a]", "**x", saved)) == 2


def test_parquet_files_are_found_by_the_start_of_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_parquet(tmp_path / "[a]/val[0].parquet", [0, 1, 1], ["cat", "dog"])
    write_parquet(tmp_path / "[a]/val0.parquet", [0], ["cat", "dog"])
    assert len(open_folder_data(tmp_path / "[a]", "val[0]", save(tmp_path / "model").saved)) == 3


def test_few_images_are_loaded_in_place_and_many_by_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    few, many = (Synthetic(images=images).open() for images in (100, 1000))
    ready = save(tmp_path)
    assert (count_workers(ready, few, ALONE), count_workers(ready, many, ALONE)) == (0, 7)
    said = save(tmp_path, {"train": {"name": "synthetic"}, "workers": 0})
    assert count_workers(said, many, ALONE) == 0


def test_predictions_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    ready, samples = save(tmp_path / "model"), Synthetic(images=3, classes=2, size=8).open()
    answers = evaluate_saved(ready, samples, ALONE).answers
    assert answers is not None
    path, link = tmp_path / "predictions.csv", tmp_path / "link.csv"
    link.symlink_to(path)
    write_predictions(link, answers, samples, ready.task)
    whole = path.read_text()
    assert (len(whole.splitlines()), link.is_symlink()) == (4, True)
    with pytest.raises(IndexError):
        write_predictions(path, answers, subset(samples, np.arange(2)), ready.task)
    assert path.read_text() == whole
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.csv", "model", "predictions.csv"]

"""The matrix's data sets (S): wrong folders and labels are one clear error, and the order of images is as good as chance."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.conftest import Run, is_refused, write_photos
from tests.unit.data.pictures import encode, picture, write_folder
from vit_cli.data.folder import Folder
from vit_cli.data.hf import HuggingFace
from vit_cli.data.order import Order
from vit_cli.errors import DataError

RECIPE = """\
model: {{name: vit, width: 16, depth: 1, heads: 2, patch: 16, res: 32, pool: gap}}
data: {{train: {{name: folder, root: {root}}}, val: {{name: folder, root: {val}}}, workers: 0}}
optim: {{name: adamw, lr: 1e-2}}
train: {{steps: 30, batch_size: 12, precision: fp32}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that tells three colours apart."""
    path = tmp_path / "small.yaml"
    path.write_text(
        RECIPE.format(root=write_photos(tmp_path / "train"), val=write_photos(tmp_path / "val", per_class=3))
    )
    return path


@pytest.mark.case("S1")
def test_every_empty_class_is_named(vit: Run, recipe: Path, tmp_path: Path) -> None:
    for name in ("pink", "black"):
        (tmp_path / "train" / name).mkdir()
        (tmp_path / "train" / name / "notes.txt").write_text("no picture")
    assert is_refused(vit("train", recipe), 3, "2 class folders: black, pink without a picture")
    assert not (tmp_path / "runs").exists()


@pytest.mark.case("S2")
def test_labels_are_matched_by_name_when_validation_has_fewer_classes_in_another_place(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    for path in (tmp_path / "val/blue").iterdir():  # without blue, green is class 0 and red class 1 of what is left
        path.unlink()
    (tmp_path / "val/blue").rmdir()
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    shown = json.loads(vit("eval", tmp_path / "run", "--per-class", "--json").out)
    assert shown["top1"] == 100
    assert [row["images"] for row in shown["per_class"]] == [0, 3, 3]


@pytest.mark.case("S2")
def test_a_class_that_the_model_does_not_know_is_refused_in_evaluation(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    (tmp_path / "val/red").rename(tmp_path / "val/ruby")
    assert is_refused(
        vit("eval", tmp_path / "run", "--data", tmp_path / "val"), 3, "ruby", "classes are matched by name"
    )
    assert is_refused(vit("eval", tmp_path / "run"), 3, "ruby")


@pytest.mark.case("S3")
@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 1, 2], ["cat", "dog"], "row 2 has label 2, but there are 2 classes"),
        ([0, -1, 1], ["cat", "dog"], "row 1 has label -1, but there are 2 classes"),
        ([0, None, 1], ["cat", "dog"], "row 1 has no label"),
        ([0.0, 1.5, float("nan")], None, "holds double, no labels"),
        (["cat", None, "dog"], None, "row 1 has no label"),
        ([True, False, True], None, "holds bool, no labels"),
    ],
)
def test_a_label_that_is_none_is_told_by_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[object], names: list[str] | None, words: str
) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"image": [{"bytes": encode(picture(i)), "path": None} for i in range(3)], "label": labels})
    if names:
        kind = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kind}})})
    parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=words):
        HuggingFace(path=str(tmp_path / "train.parquet"), image="image", label="label").open()


@pytest.mark.case("S5")
def test_what_systems_and_archives_leave_behind_is_no_class(vit: Run, recipe: Path, tmp_path: Path) -> None:
    left = (
        ".DS_Store",
        "train/.DS_Store",
        "train/__MACOSX/red/._000.jpg",
        "train/red/.thumbs/000.jpg",
        "train/red/Thumbs.db",
    )
    for name in left:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * 100)
    (tmp_path / "train/red/deeper/still").mkdir(parents=True)
    (tmp_path / "train/red/deeper/still/000.png").write_bytes(encode(picture(0)))
    samples = Folder(root=tmp_path / "train").open()
    assert samples.classes == ("blue", "green", "red")
    assert len(samples) == 37
    assert vit("train", recipe, "train.steps=2", "-q").code == 0


@pytest.mark.case("S5")
def test_a_loop_of_links_above_the_classes_is_found(tmp_path: Path) -> None:
    write_folder(tmp_path / "root", {"cat": 1, "dog": 1})
    (tmp_path / "root/again").symlink_to(tmp_path / "root", target_is_directory=True)
    with pytest.raises(DataError, match="links to a folder that holds it"):
        Folder(root=tmp_path / "root").open()


@pytest.mark.case("S5")
def test_pipes_and_devices_by_the_name_of_a_picture_are_left_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 2, "dog": 1})
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    (tmp_path / "cat/zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "cat/linked.jpg").symlink_to(tmp_path / "dog/000.png")
    (tmp_path / "cat/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    begin = time.monotonic()
    samples = Folder(root=tmp_path).open()
    assert [samples.key(i) for i in range(len(samples))] == [
        "cat/000.png",
        "cat/001.JPG",
        "cat/gone.jpg",
        "cat/linked.jpg",
        "dog/000.png",
    ]
    assert samples.read(3) == (tmp_path / "dog/000.png").read_bytes()
    with pytest.raises(FileNotFoundError):
        samples.read(2)
    assert time.monotonic() - begin < 5


def entropies(stream: NDArray[np.int64], labels: NDArray[np.int64], batch: int) -> float:
    """Give the mean over batches of the entropy of their classes, in nats."""
    found = []
    for start in range(0, len(stream) - batch + 1, batch):
        shares = np.bincount(labels[stream[start : start + batch]]) / batch
        found.append(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    return float(np.mean(found))


@pytest.mark.case("S9")
@pytest.mark.parametrize(("images", "classes", "batch"), [(5000, 10, 32), (4096, 4, 8), (3001, 100, 64), (997, 7, 16)])
def test_batches_of_data_sorted_by_class_are_as_mixed_as_chance(images: int, classes: int, batch: int) -> None:
    labels = np.arange(images) * classes // images
    order, random = Order(images, 3, batch), np.random.default_rng(0)
    ours = np.concatenate([order.draws(step).indices for step in range(3 * images // batch)])
    chance = np.concatenate([random.permutation(images) for _ in range(3)])
    expected = entropies(chance, labels, batch)
    assert abs(entropies(ours, labels, batch) - expected) < 0.05 * expected
    assert entropies(np.arange(images), labels, batch) < 0.6 * expected, "unshuffled, the test would fail"


@pytest.mark.case("S9")
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_over_all_processes_an_epoch_shows_each_image_once(size: int) -> None:
    order = Order(97, 5, 12)
    parts = [
        order.draws(step, rank * 12 // size, (rank + 1) * 12 // size).indices
        for step in range(97)
        for rank in range(size)
    ]
    epochs = np.concatenate(parts).reshape(12, 97)
    assert all(sorted(epoch.tolist()) == list(range(97)) for epoch in epochs)


@pytest.mark.case("S9")
def test_an_image_does_not_come_back_sooner_than_chance_has_it() -> None:
    images = 2000
    order = Order(images, 1, images)
    first, second = (np.argsort(order.draws(step).indices) for step in (0, 1))
    gaps = images + second - first  # between the two places of each image: images on average, sd images / sqrt(6)
    assert abs(gaps.mean() - images) < 1e-9
    assert abs(gaps.std() - images / np.sqrt(6)) < 0.05 * images
    random = np.random.default_rng(0)
    chance = images + random.permutation(images) - random.permutation(images)
    assert abs((gaps < images / 10).mean() - (chance < images / 10).mean()) < 0.01

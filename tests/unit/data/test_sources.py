"""Sources other than folders, and finding the one for a path."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.unit.data.pictures import KINDS, encode, picture, write_folder, write_mnist, write_parquet
from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.hf import HuggingFace
from vit_cli.data.pack import pack_images
from vit_cli.data.pack_shard import PackOptions
from vit_cli.data.samples import Samples
from vit_cli.data.shards import Shards
from vit_cli.data.source import Source, source_from_path
from vit_cli.data.synthetic import Synthetic
from vit_cli.data.torchvision_sets import KINDS as TORCHVISION_KINDS
from vit_cli.data.torchvision_sets import Torchvision
from vit_cli.errors import DataError


@pytest.mark.parametrize("kind", KINDS)
def test_an_opened_source_can_be_pickled(kind: str, open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind(kind)
    again = pickle.loads(pickle.dumps(samples))
    assert (again.classes, len(again)) == (samples.classes, 37)
    np.testing.assert_array_equal(again.labels, samples.labels)
    for index in (0, 36):
        np.testing.assert_array_equal(again.read(index), samples.read(index))
        assert again.key(index) == samples.key(index)


def test_digits_use_the_whole_range_of_grey() -> None:
    samples = Digits().open()
    assert (len(samples), samples.classes[7]) == (1797, "7")
    assert samples.pixels.shape == (1797, 8, 8)
    assert (samples.pixels.min(), samples.pixels.max()) == (0, 255)


def test_synthetic_images_differ_and_repeat() -> None:
    samples, again = Synthetic(images=50).open(), Synthetic(images=50).open()
    images = [samples.read(i) for i in range(50)]
    assert len({image.tobytes() for image in images}) == 50
    assert all(np.array_equal(image, again.read(i)) for i, image in enumerate(images))
    assert not np.array_equal(images[0], Synthetic(seed=1).open().read(0))


def test_synthetic_classes_can_be_told_apart() -> None:
    samples = Synthetic(images=200, size=16).open()
    images = np.stack([samples.read(i) for i in range(200)]).astype(float).reshape(200, -1)
    means = np.stack([images[:100][samples.labels[:100] == c].mean(0) for c in range(10)])
    nearest = ((images[100:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == samples.labels[100:]).all()


def test_a_parquet_file_brings_classes_and_encoded_pictures(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [1, 0, 1], ["cat", "dog"])
    samples = HuggingFace(path=str(path)).open()
    assert (samples.classes, samples.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    assert samples.read(2) == encode(picture(2))
    assert samples.name(2).endswith("x.parquet row 2")


def test_a_folder_of_parquet_files_has_splits_by_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00001.parquet", [0, 1, 1], ["cat", "dog"])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [1, 0], ["cat", "dog"])
    assert len(HuggingFace(path=str(tmp_path), split="train").open()) == 3
    assert len(HuggingFace(path=str(tmp_path), split="test").open()) == 2
    with pytest.raises(DataError, match=r"split 'val'.*\['train', 'test'\]"):
        HuggingFace(path=str(tmp_path), split="val").open()


def test_text_and_numbers_become_classes_in_order(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    rows = {"picture": [encode(picture(i)) for i in range(3)], "kind": ["b", "a", "b"], "count": [10, 9, 10]}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "x.parquet"))
    by_text = HuggingFace(path=str(tmp_path / "x.parquet"), label="kind").open()
    assert (by_text.classes, by_text.labels.tolist()) == (("a", "b"), [1, 0, 1])
    assert by_text.read(1) == rows["picture"][1]
    by_number = HuggingFace(path=str(tmp_path / "x.parquet"), label="count").open()
    assert (by_number.classes, by_number.labels.tolist()) == (("9", "10"), [1, 0, 1])
    with pytest.raises(DataError, match="not clear which column holds the label"):
        HuggingFace(path=str(tmp_path / "x.parquet")).open()


@pytest.mark.case("S3")
def test_a_secret_label_is_an_error_with_its_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [0, 1, -1], ["cat", "dog"])
    with pytest.raises(DataError, match="row 2 has label -1"):
        HuggingFace(path=str(path)).open()


def test_local_files_are_opened_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "train-0.parquet", [1, 0, 1], ["cat", "dog"])
    asked: list[object] = []

    def refuse(*address: object, **options: object) -> None:
        asked.append(address)
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for place in (path, tmp_path, tmp_path / "train*.parquet"):
        assert len(HuggingFace(path=str(place)).open()) == 3
    assert asked == []


def test_a_path_that_is_not_there_is_no_question_to_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    with pytest.raises(DataError, match="is not there"):
        HuggingFace(path=str(tmp_path / "*.parquet")).open()


def test_torchvision_reads_mnist_as_grey_pixels(tmp_path: Path) -> None:
    samples = Torchvision(dataset="MNIST", root=write_mnist(tmp_path, 20), split="test").open()
    assert samples.read(3).shape == (28, 28)
    assert samples.labels.tolist() == [*range(10), *range(10)]
    assert len(samples.classes) == 10


def test_torchvision_files_are_read_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path / "eurosat" / "2750", {"Forest": 2, "River": 1})
    samples = Torchvision(dataset="EuroSAT", root=tmp_path, download=False).open()
    assert (samples.classes, samples.labels.tolist()) == (("Forest", "River"), [0, 0, 1])
    assert samples.read(2) == (tmp_path / "eurosat/2750/River/000.png").read_bytes()
    assert samples.key(2) == "eurosat/2750/River/000.png"


def test_torchvision_without_data_or_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CIFAR10 is not in"):
        Torchvision(dataset="CIFAR10", root=tmp_path, download=False).open()
    with pytest.raises(DataError, match=r"no split 'val'\n.*train, test"):
        Torchvision(dataset="CIFAR10", root=tmp_path, split="val").open()


def test_every_torchvision_set_that_a_recipe_may_name_is_described() -> None:
    from torchvision import datasets

    assert set(Torchvision.model_fields["dataset"].annotation.__args__) == set(TORCHVISION_KINDS)
    assert all(hasattr(datasets, name) for name in TORCHVISION_KINDS)


def opened(path: Path) -> tuple[int, int | None]:
    train, val = source_from_path(path)
    counts = [
        None if section is None else len(TypeAdapter(Source).validate_python(section).open())
        for section in (train, val)
    ]
    return counts[0], counts[1]


def test_a_path_of_class_folders_has_no_validation(tmp_path: Path) -> None:
    assert opened(write_folder(tmp_path, {"cat": 2, "dog": 3})) == (5, None)


@pytest.mark.parametrize("val", ["val", "Valid", "validation", "test"])
def test_a_path_of_split_folders_has_both(tmp_path: Path, val: str) -> None:
    write_folder(tmp_path / "train", {"cat": 2, "dog": 3})
    write_folder(tmp_path / val, {"cat": 1})
    assert opened(tmp_path) == (5, 1)


def test_a_path_with_training_alone_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 2})
    with pytest.raises(DataError, match="nothing to validate on"):
        source_from_path(tmp_path)


def test_a_path_of_parquet_files_is_understood(tmp_path: Path) -> None:
    place = tmp_path / "odd [name]"
    write_parquet(place / "data" / "train-0.parquet", [0, 1, 1], ["cat", "dog"])
    write_parquet(place / "data" / "test-0.parquet", [1, 0], ["cat", "dog"])
    assert opened(place) == (3, 2)
    assert opened(place / "data" / "test-0.parquet") == (2, None)


@pytest.mark.parametrize("format", ["wds", "arrow"])
def test_an_unfinished_pack_is_told_from_class_folders_and_from_what_of_it_is_done(tmp_path: Path, format: str) -> None:
    write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    options = PackOptions.model_validate({"format": format, "shard_bytes": 10_000})
    left = tmp_path / "packs" / "train"
    pack_images(Folder(root=tmp_path / "pets"), left, options, workers=1, max_bad=0, say=lambda _text: None)
    assert source_from_path(left)[0]["name"] == ("shards" if format == "wds" else "hf")
    (left / "index.json").unlink()
    (left / "pack.json").write_text("{}")
    (left / "parts").mkdir()
    openings: list[Callable[[], object]] = [
        lambda: source_from_path(left),
        lambda: Folder(root=left).open(),
        lambda: Folder(root=left.parent, split="train").open(),
        lambda: Shards(path=str(left)).open(),
    ]
    for opening in openings:
        with pytest.raises(DataError, match=r"is an unfinished pack\n.*same vit data pack command again"):
            opening()


def test_some_digits_alone_are_numbered_from_zero() -> None:
    whole, some = Digits().open(), Digits(only=(9, 4)).open()
    assert some.classes == ("4", "9")
    assert np.bincount(some.labels).tolist() == np.bincount(whole.labels)[[4, 9]].tolist()
    assert some.pixels[some.labels == 0].tobytes() == whole.pixels[whole.labels == 4].tobytes()

"""Fingerprints of data sets: what they see, what they must not see, and how a difference is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.pictures import KINDS, encode, picture, write_folder
from vit_cli.data.fingerprint import differences, fingerprint
from vit_cli.data.folder import Folder
from vit_cli.data.hf import HuggingFace
from vit_cli.data.open import open_splits
from vit_cli.data.samples import Files, PackedNames, Pixels, Samples, relabel, subset
from vit_cli.data.split import Parting

OTHER = "but other ones or in another order"


def files(names: Sequence[str], labels: Sequence[int], classes: Sequence[str] = ("red", "blue")) -> Files:
    return Files("/data", PackedNames(name.encode() for name in names), np.array(labels), classes)


def changes(before: Samples, now: Samples) -> list[str]:
    return differences(fingerprint(before), fingerprint(now))


SIX = files(["r/1", "r/2", "r/3", "b/1", "b/2", "b/3"], [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_data_opened_twice_are_equal(kind: str, open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind(kind)
    found = fingerprint(samples)
    assert found == fingerprint(subset(samples, np.arange(37)))
    assert {name: count for name, (count, *_) in found.items()} == {
        name: int((samples.labels == number).sum()) for number, name in enumerate(samples.classes)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_two_images_of_a_class_that_change_places_are_seen_in_that_class_alone(
    kind: str, open_kind: Callable[[str], Samples]
) -> None:
    samples, rows = open_kind(kind), np.arange(37)
    first, *_, last = np.flatnonzero(samples.labels == 1)
    rows[[first, last]] = last, first
    count = int((samples.labels == 1).sum())
    assert changes(samples, subset(samples, rows)) == [f"class {samples.classes[1]}: {count} images, {OTHER}"]


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_travel_as_plain_numbers(kind: str, open_kind: Callable[[str], Samples]) -> None:
    found = fingerprint(open_kind(kind))
    assert json.loads(json.dumps(found)) == found
    numbers = [number for entry in found.values() for number in entry]
    assert all(type(number) is int and 0 <= number < 2**63 for number in numbers)


@pytest.mark.case("R22")
def test_a_file_more_or_fewer_is_counted_in_its_class(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"red": 12, "blue": 5})
    before = fingerprint(Folder(root=root).open())
    (root / "red" / "new.png").write_bytes(encode(picture(999)))
    assert differences(before, fingerprint(Folder(root=root).open())) == ["class red: 12 -> 13 images"]
    (root / "red" / "000.png").unlink()
    assert differences(before, fingerprint(Folder(root=root).open())) == [f"class red: 12 images, {OTHER}"]


@pytest.mark.case("R22")
def test_classes_that_come_and_go_are_named() -> None:
    red_and_green = files(["r/1", "r/2", "r/3", "g/1"], [0, 0, 0, 1], ["red", "green"])
    assert changes(SIX, red_and_green) == ["class blue is gone", "class green is new"]


def test_a_folder_that_moved_is_still_the_same(tmp_path: Path) -> None:
    before = fingerprint(Folder(root=write_folder(tmp_path / "here", {"red": 3, "blue": 3})).open())
    (tmp_path / "here").rename(tmp_path / "there")
    assert fingerprint(Folder(root=tmp_path / "there").open()) == before


def test_names_that_only_join_alike_are_different() -> None:
    assert changes(files(["r/12", "r/3"], [0, 0]), files(["r/1", "2r/3"], [0, 0])) == [f"class red: 2 images, {OTHER}"]


def test_names_that_are_not_utf8_are_told_apart() -> None:
    one, other = (Files("/d", PackedNames([name]), np.array([0]), ["red"]) for name in (b"\xff", b"\xfe"))
    assert changes(one, other) == [f"class red: 1 image, {OTHER}"]


def test_the_order_of_the_classes_images_among_each_other_counts() -> None:
    mixed = subset(SIX, np.array([0, 3, 1, 4, 2, 5]))
    assert changes(SIX, SIX) == []
    assert changes(SIX, mixed) == ["the same images, but the classes follow each other in another order"]


def test_another_pixel_is_seen_in_its_class() -> None:
    pixels = np.zeros((4, 2, 2, 3), np.uint8)
    changed = pixels.copy()
    changed[2, 1, 1, 1] = 1
    before, now = (Pixels("p", images, np.array([0, 1, 1, 0]), ["red", "blue"]) for images in (pixels, changed))
    assert changes(before, now) == [f"class blue: 2 images, {OTHER}"]


def test_a_table_with_another_picture_is_seen_and_one_that_moved_is_not(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["red", "blue"])})

    def open_table(place: str, pictures: list[bytes | None], path: str = "x.png") -> Samples:
        images = [None if content is None else {"bytes": content, "path": path} for content in pictures]
        rows = {"image": images, "label": [0, 0, 1, 1]}
        file = tmp_path / place / "train.parquet"
        file.parent.mkdir()
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(file))
        return HuggingFace(path=str(file)).open()

    pictures: list[bytes | None] = [b"1", b"22", b"333", None]
    before = open_table("here", pictures)
    assert changes(before, open_table("there", pictures)) == []
    assert changes(before, open_table("longer", [b"1", b"2222", b"333", None])) == [f"class red: 2 images, {OTHER}"]
    assert changes(before, open_table("found", [b"1", b"22", b"333", b""])) == [f"class blue: 2 images, {OTHER}"]
    assert len(changes(before, open_table("renamed", pictures, "y.png"))) == 2
    assert changes(before, open_table("elsewhere", pictures, "/in/another/folder/x.png")) == []


@pytest.mark.slow
def test_pictures_of_hugging_face_that_lie_in_files_are_known_by_their_names(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    root = write_folder(tmp_path / "here", {"red": 3, "blue": 3})
    before = fingerprint(HuggingFace(path=str(root)).open())
    root.rename(tmp_path / "there")
    assert fingerprint(HuggingFace(path=str(tmp_path / "there")).open()) == before
    (tmp_path / "there" / "red" / "000.png").rename(tmp_path / "there" / "red" / "0.png")
    now = fingerprint(HuggingFace(path=str(tmp_path / "there")).open())
    assert differences(before, now) == [f"class red: 3 images, {OTHER}"]


def test_what_is_held_out_and_what_is_kept_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    folder = Folder(root=write_folder(tmp_path / "p", {"red": 12, "blue": 12}))
    first, again, other = (open_splits(folder, None, Parting(share)) for share in (0.25, 0.25, 0.5))
    assert changes(first.train, again.train) == changes(first.val, again.val) == []
    assert changes(first.train, other.train) == ["class blue: 9 -> 6 images", "class red: 9 -> 6 images"]


def test_another_numbering_of_the_classes_changes_nothing() -> None:
    assert changes(SIX, relabel(SIX, ["blue", "red"], "train")) == []


def test_a_class_without_images_is_a_class() -> None:
    empty = files(["r/1"], [0])
    assert fingerprint(empty)["blue"][0] == 0
    assert changes(empty, files(["r/1", "b/1"], [0, 1])) == ["class blue: 0 -> 1 image"]


def test_many_differences_are_counted() -> None:
    many = {f"class {number}": [1, 0, 0] for number in range(30)}
    lines = differences(many, {})
    assert lines[-1] == "and 22 more"
    assert len(lines) == 9
    assert len(differences(dict(list(many.items())[:8]), {})) == 8


@pytest.mark.parametrize("name", ["\x1b[31mred", "\ud800", "a\nb"])
def test_a_class_can_not_command_the_terminal(name: str) -> None:
    (line,) = differences({name: [1, 0, 0]}, {})
    assert line.isprintable()


@pytest.mark.slow
def test_a_million_names_take_no_time() -> None:
    count = 130_000  # a tenth of ImageNet
    labels = np.arange(count) * 100 // count
    names = PackedNames(f"n{label:08d}/n{label:08d}_{i:07d}.JPEG".encode() for i, label in enumerate(labels))
    samples = Files("/data", names, labels, [f"n{label:08d}" for label in range(100)])
    begin = time.process_time()
    fingerprint(samples)
    assert time.process_time() - begin < 2 / 10 * 5  # of 2 s for all, on a machine five times as slow

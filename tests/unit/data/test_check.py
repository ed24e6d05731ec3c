"""A data set as a whole: counts, sizes, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.pictures import encode, picture
from vit_cli.data import findings
from vit_cli.data.check import EDGES, HELD, Looking, Report, check_data, choose_places, count_sides, open_parts
from vit_cli.data.digits import Digits
from vit_cli.data.findings import judge
from vit_cli.data.folder import Folder
from vit_cli.data.split import Parting
from vit_cli.data.synthetic import Synthetic
from vit_cli.errors import DataError
from vit_cli.section import TaskName


def write(root: Path, first: int = 0, **counts: int) -> Folder:
    """Write class folders of so many pictures, PNG and JPEG, all different; other ones for another `first`."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            ending, format = (("png", "PNG"), ("jpg", "JPEG"))[number % 2]
            first += 1
            (root / name / f"{number}.{ending}").write_bytes(encode(picture(first, (8 + number % 3, 8)), format))
    return Folder(root=root)


def look(train: Folder, val: Folder | None = None, looking: Looking = Looking(workers=0)) -> Report:
    return judge(check_data(open_parts(train, val, Parting(0.2), "classification"), "classification", looking))


def kinds(report: Report) -> list[str]:
    return [problem.kind for problem in report.problems]


@pytest.fixture
def pets(tmp_path: Path) -> Folder:
    """A dozen pictures of each of two classes, all different."""
    return write(tmp_path / "pets", cat=12, dog=12)


def test_good_data_has_no_problem_and_part_of_it_is_held_out(pets: Folder) -> None:
    report = look(pets)
    assert report.problems == []
    assert [(split.name, split.images) for split in report.splits] == [("train", 20), (HELD, 4)]
    assert report.splits[0].classes == {"cat": 10, "dog": 10}
    assert sum(split.formats["PNG RGB"] for split in report.splits) == 12
    assert report.decoded_bytes == pytest.approx(3 * 24 * 9 * 8, rel=0.1)
    assert report.images_per_second > 0


def test_digits_are_held_out_as_in_training() -> None:
    parts = open_parts(Digits(), None, Parting(0.2), "classification")
    assert {name: len(samples) for name, (_, samples) in parts.items()} == {"train": 1438, HELD: 359}


def test_the_smallest_and_the_largest_picture_are_named(pets: Folder) -> None:
    (pets.root / "cat" / "tall.png").write_bytes(encode(picture(0, (20, 500))))
    (pets.root / "dog" / "dot.png").write_bytes(encode(picture(0, (2, 1))))
    sizes = [split.sizes for split in look(pets).splits if split.sizes]
    largest, smallest = (
        max(sizes, key=lambda s: s.largest.rows).largest,
        min(sizes, key=lambda s: s.smallest.rows).smallest,
    )
    assert (largest.path, largest.rows, largest.columns) == (str(pets.root / "cat" / "tall.png"), 500, 20)
    assert (smallest.path, smallest.rows, smallest.columns) == (str(pets.root / "dog" / "dot.png"), 1, 2)


def test_what_is_wrong_is_told_with_its_kind(pets: Folder, tmp_path: Path) -> None:
    val = write(tmp_path / "val", 100, cat=2, cow=3, owl=1)
    (pets.root / "cat" / "empty.png").write_bytes(b"")
    (pets.root / "dog" / "html.jpg").write_bytes(b"<html>")
    again = picture(0, (30, 30))
    for place in (pets.root / "cat" / "a.png", pets.root / "dog" / "b.png", val.root / "cat" / "c.png"):
        place.write_bytes(encode(again))
    report = look(pets, val)
    assert kinds(report) == ["unreadable", "classes", "classes", "shared", "conflicting"]
    broken, unknown, missing, shared, conflicting = report.problems
    assert broken.text == "train: 2 images can't be read (1 empty file, 1 unsupported format)"
    assert unknown.text == "val has 2 classes that train has no image of"
    assert unknown.examples == ["cow", "owl"]
    assert missing.text == "train has 1 class that val has no image of"
    assert missing.examples == ["dog"]
    assert shared.count == 1
    assert conflicting.examples[0].endswith("b.png (dog) is " + str(pets.root / "cat" / "a.png") + " (cat)")
    assert json.loads(json.dumps(asdict(report)))["problems"][0]["kind"] == "unreadable"


def test_a_class_that_is_not_held_out_is_no_problem(pets: Folder) -> None:
    write(pets.root, 100, owl=1)
    report = look(pets)
    assert report.splits[1].classes["owl"] == 0
    assert report.problems == []


def test_data_that_can_not_be_trained_on_is_a_problem(tmp_path: Path) -> None:
    one = look(write(tmp_path / "one", cat=5))
    assert [problem.text for problem in one.problems] == ["there is one class only, and nothing to tell apart"]
    few = look(write(tmp_path / "few", cat=1, dog=1))
    assert [problem.text[:30] for problem in few.problems] == ["nothing can be held out to val"]


def test_repeated_pictures_and_uneven_classes_are_notes(pets: Folder) -> None:
    write(pets.root, 100, owl=1)
    for number in range(3):
        (pets.root / "cat" / f"again{number}.png").write_bytes(encode(picture(99, (30, 30))))
    train = Folder(root=pets.root)
    report = look(train, write(pets.root.parent / "val", 200, cat=2, dog=2, owl=2))
    again = [f"{pets.root}/cat/again{number}.png" for number in range(3)]
    assert report.notes[0].split("\n") == [
        "train: 2 images repeat an earlier one of the split",
        f"  {again[1]} is {again[0]}",
        f"  {again[2]} is {again[0]}",
    ]
    assert any("uneven: 15 images of cat, 1 of owl" in note for note in report.notes)


def test_a_repeated_picture_that_a_problem_names_is_no_note_too(pets: Folder) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        (pets.root / name).write_bytes(encode(picture(99, (30, 30))))
    other = look(pets, write(pets.root.parent / "val", 200, cat=2, dog=2))
    assert kinds(other) == ["conflicting"]
    assert other.problems[0].count == 1
    assert other.notes[0].startswith("train: 1 image repeats an earlier one of the split\n")
    assert "b.png is" in other.notes[0]
    same = look(pets, pets)
    assert not any(note.startswith("val: ") for note in same.notes)


def test_of_many_repeated_pictures_three_are_named(pets: Folder) -> None:
    for number in range(6):
        (pets.root / "cat" / f"again{number}.png").write_bytes(encode(picture(99, (30, 30))))
    lines = look(pets, write(pets.root.parent / "val", 200, cat=2, dog=2)).notes[0].split("\n")
    assert lines[0].startswith("train: 5 images repeat")
    assert lines[4:] == ["  and 2 more (--json names more)"]


def test_a_sample_is_spread_evenly_and_told(pets: Folder) -> None:
    heard: list[tuple[int, int]] = []
    report = look(pets, looking=Looking(workers=0, sample=5, told=lambda *count: heard.append(count)))
    assert [split.looked_at for split in report.splits] == [5, 4]
    assert report.splits[0].images == 20
    assert any("5 of 20 images were looked at" in note for note in report.notes)
    assert heard[-1] == (9, 9)
    assert choose_places(11, 3).tolist() == [0, 5, 10]
    assert choose_places(3, 7).tolist() == [0, 1, 2]
    assert choose_places(7, 1).tolist() == [0]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_every_task_has_its_table(task: TaskName) -> None:
    report = judge(check_data(open_parts(Digits(), None, Parting(0.2), task), task))
    train = report.splits[0]
    assert train.formats == {"grey pixels": train.images}
    if task == "regression":
        assert (train.classes, train.targets["digit"].low, train.targets["digit"].high) == ({}, 0, 9)
    else:
        assert train.targets == {}
        assert sum(train.classes.values()) >= train.images
    assert "unreadable" not in kinds(report)


def test_workers_find_the_same() -> None:
    parts = open_parts(Synthetic(classes=3, images=80, size=16, jpeg=True), None, Parting(0.2), "classification")
    one, two = (asdict(check_data(parts, "classification", Looking(workers=workers))) for workers in (0, 2))
    for report in (one, two):
        del report["images_per_second"]
    assert one == two


def test_short_sides_are_counted_between_the_edges() -> None:
    short = np.array([15, 16, 31, 255, 256, 383, 384], dtype=np.int32)
    assert count_sides(short) == {
        "<16": 1,
        "16-31": 2,
        "32-63": 0,
        "64-127": 0,
        "128-255": 1,
        "256-383": 2,
        "384-511": 1,
    }
    assert count_sides(np.array([EDGES[-1], 10**6], dtype=np.int32)) == {f">={EDGES[-1]}": 2}


def test_a_place_without_images_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not there"):
        open_parts(Folder(root=tmp_path / "gone"), None, Parting(0.2), "classification")


def advice(size: tuple[int, int], images: int, monkeypatch: pytest.MonkeyPatch, free: int) -> list[str]:
    monkeypatch.setattr(findings, "free_memory", lambda: free)
    monkeypatch.setattr(findings, "free_shared_memory", lambda: free)
    source = Synthetic(classes=2, images=images, size=size, jpeg=True)
    return judge(
        check_data(open_parts(source, None, Parting(0.5), "classification"), "classification", Looking(0))
    ).advice


@pytest.mark.slow
def test_large_pictures_are_best_packed_and_what_fits_is_best_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "by itself" in advice((64, 64), 8, monkeypatch, free=10**9)[0]
    assert "by itself" not in advice((1000, 1001), 2, monkeypatch, free=10**9)[0]
    assert advice((64, 64), 8, monkeypatch, free=3 * 64 * 64 * 8 * 3)[0].endswith("data.cache=ram keeps them in memory")
    reduced = advice((768, 900), 4, monkeypatch, free=3 * 768 * 900 * 4)
    assert reduced[1].endswith("data.cache=ram data.cache_size=384 keeps them in memory")
    assert advice((64, 64), 8, monkeypatch, free=1000) == []
    assert (
        "vit data pack SRC DEST --short-side 384 leaves about 25%" in advice((768, 900), 4, monkeypatch, free=1000)[0]
    )

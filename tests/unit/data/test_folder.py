"""Class folders, right and wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.data.pictures import encode, picture, write_folder
from vit_cli.data.folder import Folder
from vit_cli.errors import DataError


def test_classes_and_pictures_are_sorted_by_name(tmp_path: Path) -> None:
    samples = Folder(root=write_folder(tmp_path, {"dog": 2, "cat": 3})).open()
    assert samples.classes == ("cat", "dog")
    assert samples.labels.tolist() == [0, 0, 0, 1, 1]
    keys = [samples.key(i) for i in range(5)]
    assert keys == ["cat/000.png", "cat/001.JPG", "cat/002.png", "dog/000.png", "dog/001.JPG"]
    assert samples.read(4) == (tmp_path / "dog/001.JPG").read_bytes()
    assert samples.name(4) == str(tmp_path / "dog/001.JPG")


@pytest.mark.case("S5")
def test_pictures_may_lie_deeper_and_other_files_are_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "dog": 1})
    for name in (
        "cat/deep/er/x.PnG",
        "cat/.hidden.png",
        "cat/notes.txt",
        ".git/x.png",
        "__MACOSX/cat/x.png",
        ".DS_Store",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(picture(0)))
    samples = Folder(root=tmp_path).open()
    assert samples.classes == ("cat", "dog")
    assert [samples.key(i) for i in range(len(samples))] == ["cat/000.png", "cat/deep/er/x.PnG", "dog/000.png"]


def test_a_split_is_a_folder_above_the_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 2, "dog": 1})
    assert len(Folder(root=tmp_path, split="train").open()) == 3


@pytest.mark.case("S1", "S5")
@pytest.mark.parametrize(
    ("folders", "split", "message"),
    [
        ({}, None, "holds no class folders"),
        ({"": 2}, None, "holds pictures, but no class folders"),
        ({"cat": 1, "dog": 0, "eel": 0}, None, r"2 class folders: dog, eel without a picture"),
        ({"train/cat": 1, "val/cat": 1}, None, r"set data.train.split=train and .*data.val.split=val"),
        ({"Train/cat": 1, "meta": 1}, None, r"set data.train.split=Train"),
        (
            {"cat": 1, "dog": 0},
            "val",
            r"has no splits: it holds 2 class folders: cat, dog\n.*leave the split 'val' away",
        ),
        ({"train/cat": 1, "test/cat": 1}, "val", r"no folder 'val'\n.*2 folders: test, train"),
    ],
)
def test_wrong_folders_are_one_clear_error(
    tmp_path: Path, folders: dict[str, int], split: str | None, message: str
) -> None:
    for name, count in folders.items():
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (tmp_path / name / f"{number}.png").write_bytes(encode(picture(number)))
    with pytest.raises(DataError, match=message):
        Folder(root=tmp_path, split=split).open()


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert Folder(root=write_folder(tmp_path, {"bus": 1, "train": 1})).open().classes == ("bus", "train")


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not there"):
        Folder(root=tmp_path / "nowhere").open()


@pytest.mark.case("S5")
def test_a_loop_of_links_is_found(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat", target_is_directory=True)
    with pytest.raises(DataError, match="links to a folder that holds it"):
        Folder(root=tmp_path).open()


@pytest.mark.case("I20")
def test_names_of_any_bytes_work(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "dog": 1})
    for name in (b"\xff\xfe.png", "🐈.png".encode(), b"new\nline.png", b"\x1b[31m.png", b"x" * 251 + b".png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/" + name)).write_bytes(encode(picture(1)))
    samples = Folder(root=tmp_path).open()
    assert len(samples) == 7
    assert all(samples.read(i) for i in range(7))
    assert all(samples.name(i).isprintable() for i in range(7))


def test_class_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "dög": 1})
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).mkdir()
    with pytest.raises(DataError, match=r"1 class folder: \\xff\\xfe, by a name that is not UTF-8"):
        Folder(root=tmp_path).open()

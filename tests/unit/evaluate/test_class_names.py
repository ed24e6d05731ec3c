"""Foreign weights that name no classes say so, and get names from a file or from the images they learned from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.data.pictures import write_folder
from vit_cli.checkpoint.model import Saved
from vit_cli.errors import DataError, UsageError
from vit_cli.evaluate.class_names import are_numbers, give_names
from vit_cli.evaluate.images import open_folder_data

NUMBERS = ("0", "1", "2")


def saved(*names: str, imported: bool = True) -> Saved:
    about = {"class_names": list(names)} | ({"imported": {"file": "vit.pth"}} if imported else {})
    return Saved(Path("vit.pth"), {}, about)


def test_numbers_are_no_names_in_weights_of_others_alone() -> None:
    assert are_numbers(saved(*NUMBERS))
    assert not are_numbers(saved(*NUMBERS, imported=False)), "the folders of MNIST are called so"
    assert not are_numbers(saved("1", "2", "3"))
    assert not are_numbers(saved())


def test_eval_says_that_there_are_no_names_and_how_to_give_them(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 1, "bee": 1, "cow": 1})
    with pytest.raises(DataError, match=r"vit\.pth has a head for 3 classes and no names") as told:
        open_folder_data(tmp_path, None, saved(*NUMBERS))
    assert "vit import vit.pth --classes FILE" in told.value.hint
    assert "vit finetune" in told.value.hint
    with pytest.raises(DataError, match="1 class: cow that training does not know"):
        open_folder_data(tmp_path, None, saved("ant", "bee", "0"))


def test_numbers_are_matched_with_folders_called_so(tmp_path: Path) -> None:
    write_folder(tmp_path, {"0": 1, "2": 2})
    assert open_folder_data(tmp_path, None, saved(*NUMBERS)).labels.tolist() == [0, 2, 2]


def test_names_are_the_lines_of_a_file_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cow\nant, red\n\nbee\n")
    named = give_names(saved(*NUMBERS), tmp_path / "names.txt")
    assert named.class_names == ("cow", "ant, red", "bee")
    assert named.about["imported"] == {"file": "vit.pth"}


@pytest.mark.parametrize("splits", [("",), ("train", "val")])
def test_names_are_those_of_class_folders_in_the_order_of_training(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        write_folder(tmp_path / split, {"cow": 1, "ant": 1, "bee": 1})
    assert give_names(saved(*NUMBERS), tmp_path).class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"ant\nbee\n", "names 2 classes, the weights' head has 3"),
        (b"ant\nbee\nant\n", "the name 'ant' more than once"),
        (b"\xff\xfe\xfa", "can't be read: it is no text"),
    ],
)
def test_names_that_do_not_fit_the_head_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        give_names(saved(*NUMBERS), tmp_path / "names.txt")
    with pytest.raises(UsageError, match="No such file"):
        give_names(saved(*NUMBERS), tmp_path / "gone.txt")

"""Tables of pictures: what they hold, and every mistake with its place."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.pictures import encode, picture
from vit_cli.data.open import open_evaluation, open_splits
from vit_cli.data.source import source_from_path
from vit_cli.data.split import Parting
from vit_cli.data.table import Table, path_below
from vit_cli.errors import DataError
from vit_cli.section import TaskName

ROWS = [
    ("a.png", "dog", "furry|loud", "1.5", "1", "0"),
    ("b/c.png", "cat", "furry", "-2e3", "0", "0"),
    ("d.png", "dog", "", "7", "0", "1"),
]
HEAD = ("path", "label", "traits", "weight", "wild", "old")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with three pictures."""
    (tmp_path / "b").mkdir()
    for number, row in enumerate(ROWS):
        (tmp_path / row[0]).write_bytes(encode(picture(number)))
    return tmp_path


def write(place: Path, rows: list[tuple[str, ...]] | None = None, name: str = "t.csv", delimiter: str = ",") -> Path:
    path = place / name
    lines = [HEAD, *(ROWS if rows is None else rows)]
    path.write_text("\ufeff" + "\r\n".join(delimiter.join(cells) for cells in lines) + "\r\n\r\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("T.CSV", ",")])
def test_a_column_of_classes_is_learned_by_sorted_names(place: Path, name: str, delimiter: str) -> None:
    samples = Table(file=write(place, name=name, delimiter=delimiter)).open()
    assert samples.classes == ("cat", "dog")
    assert samples.labels.tolist() == [1, 0, 1]
    assert samples.read(1) == encode(picture(1))
    assert [samples.key(i) for i in range(3)] == ["a.png", "b/c.png", "d.png"]
    assert pickle.loads(pickle.dumps(samples)).key(1) == "b/c.png"


def test_labels_stand_in_one_column_or_in_several(place: Path) -> None:
    file = write(place)
    one = Table(file=file, target="traits").open("multilabel")
    assert one.classes == ("furry", "loud")
    assert one.labels.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert one.labels.dtype == np.float32
    several = Table(file=file, targets=("wild", "old")).open("multilabel")
    assert several.classes == ("wild", "old")
    assert several.labels.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_numbers_are_read_as_they_stand(place: Path) -> None:
    samples = Table(file=write(place), targets=("weight", "old")).open("regression")
    assert (samples.classes, samples.labels.dtype) == (("weight", "old"), np.float64)
    assert samples.labels.tolist() == [[1.5, 0], [-2000, 0], [7, 1]]


def test_parquet_reads_like_text(place: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra `hf` is not installed")
    from pyarrow import parquet

    columns = dict(zip(HEAD, zip(*ROWS, strict=True), strict=True))
    table = pa.table({**columns, "weight": [float(row[3]) for row in ROWS], "wild": [1, 0, 0]})
    parquet.write_table(table, place / "t.parquet")
    found = Table(file=place / "t.parquet", targets=("weight", "wild")).open("regression")
    assert found.labels.tolist() == [[1.5, 1], [-2000, 0], [7, 0]]
    (place / "bad.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match=r"bad\.parquet can't be read"):
        Table(file=place / "bad.parquet").open()


def test_parquet_that_is_damaged_or_holds_lists_is_told(place: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra `hf` is not installed")
    from pyarrow import parquet

    parquet.write_table(pa.table({"path": ["a.png"], "labels": [["furry", "loud"]]}), place / "lists.parquet")
    with pytest.raises(DataError, match=r"lists\.parquet row 1: expected text or a number, not a list"):
        Table(file=place / "lists.parquet").open("multilabel")
    names = [f"{number}.png" for number in range(5000)]
    parquet.write_table(pa.table({"path": names, "label": names}), place / "torn.parquet", compression="zstd")
    content = bytearray((place / "torn.parquet").read_bytes())
    content[200:2000] = bytes(1800)
    (place / "torn.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"torn\.parquet can't be read"):
        Table(file=place / "torn.parquet").open()


@pytest.mark.parametrize(
    ("task", "keys", "row", "problem"),
    [
        ("classification", {}, ("a.png", " ", "", "1", "0", "0"), r"t\.csv:3: there is no label"),
        ("regression", {"target": "weight"}, ("a.png", "x", "", "heavy", "0", "0"), r"t\.csv:3: weight: 'heavy' is no number"),
        ("regression", {"target": "weight"}, ("a.png", "x", "", "", "0", "0"), r"t\.csv:3: weight: a number is missing"),
        ("regression", {"target": "weight"}, ("a.png", "x", "", "nan", "0", "0"), r"t\.csv:3: weight: 'nan' is no number"),
        ("multilabel", {"targets": ("wild",)}, ("a.png", "x", "", "1", "2", "0"), r"t\.csv:3: wild: expected 0 or 1, not '2'"),
        ("classification", {}, ("a.png", "x"), r"t\.csv:3: 2 cells, but there are 6 columns"),
        ("classification", {}, ("", "x", "", "1", "0", "0"), r"t\.csv:3: there is no image"),
        ("classification", {}, ("../a.png", "x", "", "1", "0", "0"), r"t\.csv:3: the image '\.\./a\.png' is outside of"),
        ("classification", {}, ("/etc/passwd", "x", "", "1", "0", "0"), r"t\.csv:3: the image '/etc/passwd' is outside"),
        ("classification", {}, ('"a.png', "x", "", "1", "0", "0"), r"t\.csv:\d: unexpected end of data"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(
    place: Path, task: TaskName, keys: dict[str, object], row: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        Table(file=write(place, [ROWS[0], row]), **keys).open(task)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"target": "wieght"}, "no column 'wieght'; did you mean 'weight'"),
        ({"image": "picture"}, "no column 'picture'"),
        ({"targets": ("wild", "old")}, "classification takes one target, not 2"),
        ({"file": "gone.csv"}, r"gone\.csv is not there"),
        ({"file": "."}, "is no file"),
        ({"file": "a.png"}, "no table that vit reads"),
        ({"file": "empty.csv"}, "is empty"),
        ({"file": "head.csv"}, "lists no image"),
        ({"file": "twice.csv"}, "two columns 'path'"),
        ({"file": "strange.csv"}, "no column with a usual name for `image`"),
        ({"file": "latin.csv"}, "is not in UTF-8"),
        ({"root": "b"}, r"3 of 3 images that .*t\.csv lists are not there: .*t\.csv:2 .*/b/a\.png, "),
    ],
)
def test_a_table_that_does_not_fit_is_told(place: Path, keys: dict[str, object], problem: str) -> None:
    texts = {"empty": b"", "head": b"path,label\n", "twice": b"path,path\n", "strange": b"x,y\n1,2\n"}
    for name, text in (texts | {"latin": "path,label\na.png,Bär".encode("latin-1")}).items():
        (place / f"{name}.csv").write_bytes(text)
    known = {"file": write(place)} | {
        key: place / str(value) if key in ("file", "root") else value for key, value in keys.items()
    }
    with pytest.raises(DataError, match=problem):
        Table(**known).open()


def test_absent_files_are_told_with_their_lines_before_anything_is_learned(place: Path) -> None:
    file = write(place, [ROWS[0], ("gone.png", *ROWS[1][1:]), ROWS[2], ("a.png/x.png", *ROWS[1][1:])])
    with pytest.raises(DataError, match=r"2 of 4 images .* not there: ") as caught:
        Table(file=file).open()
    assert f"{file}:3 {place}/gone.png, {file}:5 {place}/a.png/x.png" in caught.value.problem
    many = write(place, [ROWS[0], *[(f"gone{number}.png", *ROWS[1][1:]) for number in range(5)]])
    with pytest.raises(DataError, match=r"5 of 6 images .* and 2 more"):
        Table(file=many).open()


def test_of_very_many_files_a_sample_is_looked_for(place: Path) -> None:
    rows = [",".join(ROWS[0])] * 100_001
    rows[5:] = [",".join(("gone.png", *ROWS[0][1:]))] * len(rows[5:])
    (place / "long.csv").write_text("\n".join([",".join(HEAD), *rows]))
    with pytest.raises(DataError, match=r"9,090 of 9,091 images .*long\.csv:13 .*gone\.png"):
        Table(file=place / "long.csv").open()


def write_column(place: Path, cells: Sequence[str]) -> Table:
    """Write a table with one column of targets."""
    (place / "column.csv").write_text("\n".join(["path,label", *(f"a.png,{cell}" for cell in cells)]))
    return Table(file=place / "column.csv")


@pytest.mark.parametrize(
    ("task", "cells", "problem", "hint"),
    [
        ("classification", ["furry|loud", "furry", "loud"], "several labels in a cell: furry[|]loud, furry", "multilabel"),
        ("classification", ["old", "red", "furry|loud", "furry", "new", "loud"], "several", "multilabel"),
        ("classification", ["furry|loud", "loud|red"], "several labels in a cell", "multilabel"),
        ("classification", ["1.5", "2.25", "3", "4", "-5e-1"], "holds numbers: -5e-1, 1.5, 2.25", "regression"),
        ("multilabel", ["1.5", "2.25"], "column 'label' of .*column.csv holds numbers: 1.5, 2.25", "regression"),
    ],
)  # fmt: skip
def test_a_column_for_another_task_is_refused_with_the_task(
    place: Path, task: TaskName, cells: list[str], problem: str, hint: str
) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        write_column(place, cells).open(task)
    assert caught.value.hint.startswith(f"task: {hint}")


@pytest.mark.parametrize(
    ("task", "cells"),
    [
        ("classification", ["bird|owl", "bird|hawk", "cat|tabby", "cat|other"]),
        ("classification", ["bird", "bird|owl", "bird|hawk", "cat", "cat|tabby"]),
        ("classification", ["1", "2", "3", "4", "5", "6"]),
        ("classification", ["3.10", "3.11", "3.12", "3.13", "3.14"] * 2),
        ("classification", ["v1.5", "v2.5", "3", "4", "5"]),
        ("multilabel", ["3|7", "7", "3"]),
        ("multilabel", ["1.5|2.5", "1.5"]),
        ("multilabel", ["0", "1", "1"]),
        ("regression", ["0.5", "1.5"]),
    ],
)
def test_names_with_separators_and_names_that_are_numbers_may_be_meant(
    place: Path, task: TaskName, cells: list[str]
) -> None:
    assert len(write_column(place, cells).open(task)) == len(cells)


def test_several_columns_as_one_target_name_the_key_for_several(place: Path) -> None:
    with pytest.raises(ValueError, match=r"for several write targets: \[weight, old\]"):
        Table.model_validate({"file": write(place), "target": ["weight", "old"]})
    with pytest.raises(DataError, match="no column 'weight,old'") as caught:
        Table(file=write(place), target="weight,old").open("regression")
    assert caught.value.hint == "several columns are targets: [weight, old]"


def test_a_file_with_nearly_that_name_is_named(place: Path) -> None:
    write(place, name="labels.csv")
    with pytest.raises(DataError, match=r"did you mean labels\.csv\?"):
        Table(file=place / "lables.csv").open()
    with pytest.raises(DataError, match=r"did you mean labels\.csv\?"):
        source_from_path(place / "lables.csv")


def test_paths_may_be_whole_but_never_leave_the_root() -> None:
    assert path_below("/data/x", "/data/x/a.png") == b"a.png"
    assert path_below("/data/x", "b/../a.png") == b"a.png"
    assert path_below("/", "a.png") == b"a.png"
    for text in ("/data/xy/a.png", "b/../../a.png", "..", ".", "a\0.png"):
        with pytest.raises(ValueError, match=r"outside|no path"):
            path_below("/data/x", text)


def test_one_sort_of_target_is_enough(place: Path) -> None:
    with pytest.raises(ValueError, match="one of target and targets"):
        Table(file=place / "t.csv", target="a", targets=("b",))


def test_a_column_is_learned_once(place: Path) -> None:
    with pytest.raises(ValueError, match="names a column twice"):
        Table(file=place / "t.csv", targets=("a", "b", "a"))


def test_a_table_without_any_label_can_be_judged_on_but_not_learned(place: Path) -> None:
    bare = Table(file=write(place, [(row[0], row[1], "", "0", "0", "0") for row in ROWS]), target="traits")
    with pytest.raises(DataError, match=r"no image of table .*t\.csv has a label"):
        open_splits(bare, None, Parting(0.5), task="multilabel")
    assert open_evaluation(bare, ["furry", "loud"], "multilabel").labels.tolist() == [[0, 0]] * 3

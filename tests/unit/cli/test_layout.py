"""Rows, facts and tables as text."""

import pytest

from vit_cli.cli.layout import (
    cell_width,
    format_epoch,
    format_facts,
    format_head,
    format_row,
    format_seconds,
    format_table,
    measure_epoch,
    strip_escapes,
)
from vit_cli.train.progress import Row

ROW = Row(12, 1.003, 30.02, 2.3012, 2.1034, {"top1": 24.12, "top5": 71.8}, 1e-3, 8123, 0.02, 3.1, 724, best=True)


def test_a_row_looks_like_the_one_in_the_manual() -> None:
    width = measure_epoch(ROW)
    assert format_head(width, ROW.scores).split() == [
        "epoch",
        "train_loss",
        "val_loss",
        "top1",
        "top5",
        "lr",
        "img/s",
        "wait",
        "mem",
        "eta",
    ]
    shown = " 1/30       2.3012    2.1034  24.12  71.80  1.0e-03     8123     2%   3.1G  12m04s  best"
    assert format_row(ROW, width).strip() == shown.strip()


def test_every_column_ends_where_its_heading_ends() -> None:
    half = ROW._replace(epoch=0.5, epochs=100, best=False)
    for first, later in ((ROW, ROW._replace(epoch=30.02)), (half, half._replace(epoch=99.5, eta_seconds=0))):
        width = measure_epoch(first)
        assert {len(format_row(row, width).removesuffix("  best")) for row in (first, later)} == {
            len(format_head(width, ROW.scores))
        }


@pytest.mark.parametrize(
    ("epochs", "text"), [(30, "30"), (30.02, "30"), (1.09, "1"), (2.5, "2.5"), (2.3, "2.3"), (0.041, "0.041"), (0, "0")]
)
def test_epochs_are_written_briefly(epochs: float, text: str) -> None:
    assert format_epoch(epochs) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45.4, "45s"),
        (724, "12m04s"),
        (59.9, "1m00s"),
        (3900, "1h05m"),
        (183600, "2d03h"),
        (float("nan"), "-"),
    ],
)
def test_times_are_written_with_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_facts_are_aligned_and_their_further_lines_too() -> None:
    assert format_facts({"a": 1, "model": "x\ny"}) == "a      1\nmodel  x\n       y"
    assert format_facts({}) == ""


def test_a_table_has_numbers_on_the_right_and_wide_letters_in_line() -> None:
    lines = format_table(["class", "top1"], [["猫", 9.5], ["dog\n\x1b[31m", 100.0]]).split("\n")
    assert lines == ["class   top1", "猫       9.5", "dog    100.0"]
    assert {cell_width(line) for line in lines} == {12}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b]0;never ended\nnext", "0;never ended\nnext"),
        ("a\x07\x08\r\x9bb", "ab"),
        ("\u202egpj.exe", "gpj.exe"),
        ("tab\tline\n", "tab\tline\n"),
        ("\x1b", ""),
    ],
)
def test_nothing_that_commands_a_terminal_is_left(text: str, left: str) -> None:
    assert strip_escapes(text) == left

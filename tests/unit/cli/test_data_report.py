"""How a check of data is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_cli.cli import data_report
from vit_cli.cli.data_report import MOST_CLASSES, Counting, say_problem, show_report
from vit_cli.data.check import Looking, Problem, Report, check_data, open_parts
from vit_cli.data.digits import Digits
from vit_cli.data.findings import judge
from vit_cli.data.samples import Pixels
from vit_cli.data.split import Parting
from vit_cli.section import TaskName


def report_on(task: TaskName) -> Report:
    return judge(check_data(open_parts(Digits(), None, Parting(0.2), task), task, Looking(workers=0, sample=50)))


def test_progress_is_a_line_every_ten_seconds_and_none_if_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(data_report.time, "monotonic", lambda: now[0])
    for quiet in (False, True):
        now[0] = 0.0
        with Counting(quiet) as counting:
            for second in range(1, 26):
                now[0] = float(second)
                counting.told(100 * second, 4000)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [" 25%  1,000 of 4,000 images  100 img/s", " 50%  2,000 of 4,000 images  100 img/s"]


@pytest.mark.parametrize(
    ("task", "head", "row"),
    [
        ("classification", "class  train  held-out", "3        146        37"),
        ("multilabel", "label   train  held-out", "prime "),
        ("regression", "split     target  lowest  mean", "train     digit   0"),
    ],
)
def test_every_task_has_its_table(capsys: pytest.CaptureFixture[str], task: TaskName, head: str, row: str) -> None:
    show_report(report_on(task))
    out, err = capsys.readouterr()
    assert err == ""
    assert head in out
    assert any(line.startswith(row) for line in out.splitlines())
    assert "all 8x8" in out
    assert "50 of them looked at" in out


def test_of_many_classes_the_largest_and_the_smallest_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.repeat(np.arange(40), np.arange(1, 41))
    pixels = np.arange(len(labels) * 4, dtype=np.int64).reshape(-1, 2, 2).astype(np.uint8)
    many = Pixels("many", pixels, labels, [f"class{number:02}" for number in range(40)])
    show_report(judge(check_data({"train": ("many", many)}, "classification", Looking(workers=0, sample=1))))
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("class")]
    assert shown == ["class", *(f"class{n:02}" for n in range(39, 29, -1)), *(f"class{n:02}" for n in range(9, -1, -1))]
    assert len(shown) == 1 + MOST_CLASSES


def test_a_problem_names_some_and_counts_the_rest() -> None:
    lines = say_problem(Problem("shared", "what it is", 12, [f"image {number}" for number in range(9)]))
    assert lines[:2] == ["what it is", "  image 0"]
    assert lines[-2:] == ["  image 4", "  and 7 more (--json names more)"]
    assert say_problem(Problem("classes", "what it is", 3, [])) == ["what it is"]


def test_problems_are_shown_and_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    good = replace(report_on("classification"), problems=[])
    show_report(good)
    assert "Problems\n  none\n" in capsys.readouterr().out
    show_report(
        replace(good, problems=[Problem("shared", "what it is", 1, ["a is b"])], notes=["two\n  c is d", "more"])
    )
    shown = capsys.readouterr().out
    assert "Notes\n  two\n    c is d\n  more\n" in shown
    assert "Problems\n  what it is\n    a is b\n" in shown

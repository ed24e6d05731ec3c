"""Broken images are written down once and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vit_cli.data.bad import Bad, BadImageLog
from vit_cli.errors import DataError


def bad(index: int, reason: str = "empty file") -> Bad:
    return Bad(index, f"/data/{index}.png", reason)


def test_an_image_that_comes_again_counts_once(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "bad_images.jsonl", images=1000, max_bad=0.002)
    log.record([bad(3), bad(3), bad(4, "damaged: cut")])
    log.record([bad(4, "damaged: cut")])
    lines = [json.loads(line) for line in (tmp_path / "bad_images.jsonl").read_text().splitlines()]
    assert lines == [
        {"index": 3, "path": "/data/3.png", "reason": "empty file"},
        {"index": 4, "path": "/data/4.png", "reason": "damaged: cut"},
    ]
    assert log.count == 2


@pytest.mark.case("I17")
def test_too_many_stop_the_run_with_a_summary_by_kind(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "bad", images=1000, max_bad=0.002)
    with pytest.raises(DataError, match=r"3 of 1000 .* at most 2 may be \(2 damaged, 1 empty file\)"):
        log.record([bad(1), bad(2, "damaged: cut"), bad(3, "damaged: bent")])
    assert len((tmp_path / "bad").read_text().splitlines()) == 3


@pytest.mark.parametrize(("max_bad", "allowed"), [(0.0, 0), (0.001, 1), (0.05, 5), (1.0, 100)])
def test_one_image_is_always_allowed_unless_none_is(tmp_path: Path, max_bad: float, allowed: int) -> None:
    log = BadImageLog(tmp_path / "bad", images=100, max_bad=max_bad)
    log.record([bad(index) for index in range(allowed)])
    with pytest.raises(DataError):
        log.record([bad(allowed)] if allowed < 100 else exceed(log))


def exceed(log: BadImageLog) -> list[Bad]:
    return [bad(index) for index in range(log.allowed + 1)]


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    BadImageLog(tmp_path / "bad", 10, 0.2).record([bad(1), bad(2)])
    with (tmp_path / "bad").open("a") as file:
        file.write('{"index": 9, "pa')  # cut off by a crash
    again = BadImageLog(tmp_path / "bad", 10, 0.2)
    assert again.count == 2
    again.record([bad(1)])
    with pytest.raises(DataError):
        again.record([bad(5)])

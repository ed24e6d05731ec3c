"""The journal survives being cut off, and the clock counts what it says."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vit_cli.data.batch import Stages
from vit_cli.train.advice import Interval
from vit_cli.train.folder import RunFolder
from vit_cli.train.journal import Clock, Journal
from vit_cli.train.progress import Row


def row(step: int, top1: float = 50.0, best: bool = True) -> Row:
    return Row(
        step=step,
        epoch=step / 4,
        epochs=3.0,
        train_loss=0.1 + 0.2,
        val_loss=1 / 3,
        scores={"top1": top1, "top5": 99.0},
        lr=1e-5,
        images_per_second=812.5,
        wait=0.25,
        memory_gib=1.5,
        eta_seconds=9.0,
        best=best,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(RunFolder(tmp_path), ["top1", "top5"])


def steps_of(journal: Journal) -> list[int]:
    return [json.loads(line)["step"] for line in journal.steps.read_text().splitlines()]


def rows_of(journal: Journal) -> list[dict[str, str]]:
    with journal.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_is_written_under_its_names_at_full_precision(journal: Journal) -> None:
    journal.add_row(row(4))
    journal.add_row(row(8, best=False))
    first, second = rows_of(journal)
    assert list(first) == journal.columns
    assert set(Row._fields) - set(journal.columns) == {"epochs", "eta_seconds", "scores"}
    assert (first["top1"], first["top5"]) == ("50.0", "99.0")
    assert float(first["train_loss"]) == 0.1 + 0.2
    assert float(first["val_loss"]) == 1 / 3
    assert [first["best"], second["best"]] == ["True", "False"]
    assert journal.metrics.read_bytes().count(b"\r") == 0


def test_the_last_row_is_numbers(journal: Journal) -> None:
    assert journal.last_row() == {}
    journal.add_row(row(4, top1=10.0))
    journal.add_row(row(8, top1=20.0))
    last = journal.last_row()
    assert last["step"] == 8
    assert last["top1"] == 20.0
    assert last.keys() == set(journal.columns) - {"best"}


def test_rewinding_drops_what_lies_after_the_checkpoint(journal: Journal) -> None:
    for step in (4, 8, 12):
        journal.add_step(step=step, loss=0.5)
        journal.add_row(row(step))
    journal.rewind(8, 8)
    assert steps_of(journal) == [4, 8]
    assert [line["step"] for line in rows_of(journal)] == ["4", "8"]
    journal.add_step(step=12, loss=0.5)
    journal.add_row(row(12))
    assert steps_of(journal) == [4, 8, 12]
    assert [line["step"] for line in rows_of(journal)] == ["4", "8", "12"]


def test_rewinding_to_the_start_leaves_an_empty_journal_that_can_go_on(journal: Journal) -> None:
    journal.rewind(0, 0)
    assert not journal.steps.exists()
    journal.add_step(step=4)
    journal.add_row(row(4))
    journal.rewind(0, 0)
    assert steps_of(journal) == []
    assert rows_of(journal) == []
    assert journal.last_row() == {}
    journal.add_row(row(4))
    assert journal.last_row()["step"] == 4


@pytest.mark.parametrize("length", range(1, 60, 7))
def test_a_line_that_a_crash_cut_off_is_dropped(journal: Journal, length: int) -> None:
    for step in (40, 80):
        journal.add_step(step=step, loss=0.123456789, lr=0.001, grad_norm=0.987654321)
        journal.add_row(row(step))
    for path in (journal.steps, journal.metrics):
        path.write_bytes(path.read_bytes()[:-length])
    journal.rewind(1000, 1000)
    assert steps_of(journal) == [40]
    assert [line["step"] for line in rows_of(journal)] == ["40"]


@pytest.mark.parametrize("rest", ["", "step,epo"])
def test_a_header_that_a_crash_cut_off_is_written_again(journal: Journal, rest: str) -> None:
    journal.metrics.write_text(rest)
    journal.rewind(0, 0)
    journal.add_row(row(4))
    assert journal.last_row()["step"] == 4


def test_an_empty_file_gets_its_header(journal: Journal) -> None:
    journal.metrics.write_text("")
    journal.add_row(row(4))
    assert journal.last_row()["step"] == 4


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    journal = Journal(RunFolder(tmp_path), [], writes=False)
    journal.add_step(step=1)
    journal.add_row(row(1))
    journal.rewind(0, 0)
    assert list(tmp_path.iterdir()) == []


class Time:
    """A clock on the wall that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Time:
    wall = Time()
    monkeypatch.setattr(time, "monotonic", wall)
    return wall


def test_waiting_is_the_time_spent_in_the_source_alone(wall: Time) -> None:
    def slow() -> list[int]:
        for item in range(4):
            wall.now += 1.0
            yield item

    clock, seen = Clock(), []
    for item in clock.waiting(slow()):
        seen.append(item)
        wall.now += 3.0
        clock.count(8)
    assert seen == [0, 1, 2, 3]
    assert clock.wait == pytest.approx(0.25)
    assert clock.images_per_second == pytest.approx(2.0)


def test_the_interval_of_the_advice_leaves_out_the_start_of_the_workers(wall: Time) -> None:
    def slow_at_first() -> Iterator[int]:
        for seconds in (50.0, 1.0, 1.0):
            wall.now += seconds
            yield 0

    clock = Clock()
    for _ in clock.waiting(slow_at_first()):
        wall.now += 2.0
        clock.count(8, Stages(0.5, 1.0, 0.25, 0.125))
    assert clock.interval == Interval(3, 8.0, 2.0, Stages(1.5, 3.0, 0.75, 0.375))
    assert clock.wait == pytest.approx(52 / 58)
    clock.restart()
    assert clock.interval == Interval(0, 0.0, 0.0, Stages())


def test_a_new_interval_forgets_the_old_one(wall: Time) -> None:
    clock = Clock()
    clock.count(100)
    clock.waited = 5.0
    wall.now += 10.0
    clock.restart()
    assert (clock.wait, clock.images_per_second) == (0.0, 0.0)
    clock.count(6)
    wall.now += 2.0
    assert clock.images_per_second == pytest.approx(3.0)


def test_the_time_that_is_left_follows_the_latest_steps(wall: Time) -> None:
    clock = Clock()
    assert clock.eta(10) == 0.0
    for _ in range(500):
        clock.count(1)
        wall.now += 9.0
    for _ in range(200):
        clock.count(1)
        wall.now += 0.5
    assert clock.eta(10) == pytest.approx(5.0)
    assert clock.eta(0) == 0.0


def test_seconds_go_on_from_those_before(wall: Time) -> None:
    clock = Clock()
    wall.now += 4.0
    first = clock.seconds
    clock.before = 100.0
    wall.now += 2.5
    assert (first, clock.seconds) == (4.0, 106.5)


def test_a_heartbeat_comes_at_once_and_then_not_too_often(wall: Time) -> None:
    clock, beats = Clock(), []
    for _ in range(31):
        beats.append(clock.beats())
        wall.now += 1.0
    assert beats[0]
    assert sum(beats) == 3

"""Reading a run folder."""

import json
import os
import socket
from pathlib import Path

import pytest

from vit_cli.report.record import read_metrics, read_record, read_steps
from vit_cli.train.folder import RunFolder


def test_a_record_knows_name_command_and_best_row(folder: RunFolder) -> None:
    record = read_record(folder)
    assert record.name == "pets & more"
    assert record.command == "vit train pets --out 'a <b>'"
    assert (record.best["step"], record.best["top1"]) == (20, 60.0)


def test_an_empty_folder_gives_an_empty_record(tmp_path: Path) -> None:
    record = read_record(RunFolder(tmp_path))
    assert (record.rows, record.best, record.class_names, record.command) == ([], {}, [], "")


def test_a_line_cut_short_by_a_crash_is_left_out(folder: RunFolder) -> None:
    for name in ("metrics.csv", "steps.jsonl"):
        path = folder.path / name
        path.write_text(path.read_text()[:-12])
    assert [row["step"] for row in read_metrics(folder.path / "metrics.csv")] == [10, 20]
    assert len(read_steps(folder.path / "steps.jsonl")) == 29


def test_lines_that_hold_no_step_are_left_out(folder: RunFolder) -> None:
    steps, metrics = folder.path / "steps.jsonl", folder.path / "metrics.csv"
    steps.write_text('5\n[]\n{"loss": 1.0}\n{"step": "x"}\n' + steps.read_text())
    assert len(read_steps(steps)) == 30
    metrics.write_text(metrics.read_text() + "\0" * 20)
    assert len(read_metrics(metrics)) == 3
    metrics.write_text(metrics.read_text().partition("\n")[2])
    assert read_metrics(metrics) == []


@pytest.mark.parametrize(
    ("status", "owner", "state"),
    [
        ("running", "alive", "running"),
        ("running", "dead", "crashed"),
        ("running", "none", "crashed"),
        ("interrupted", "none", "interrupted"),
        ("finished", "none", "finished"),
        (None, "none", "unknown"),
    ],
)
def test_a_run_without_a_process_has_crashed(folder: RunFolder, status: str | None, owner: str, state: str) -> None:
    folder.write_json("status.json", {"status": status} if status else {})
    if owner != "none":
        pid = os.getppid() if owner == "alive" else 2**22 + 1
        content = {"host": socket.gethostname(), "pid": pid, "since": "2026-11-20T10:15:02+00:00"}
        (folder.path / "lock").write_text(json.dumps(content))
    assert read_record(folder).state == state


@pytest.mark.parametrize("content", ['{"a": ', "[]", "\udcff"])
def test_damaged_files_count_as_absent_and_are_named(folder: RunFolder, content: str) -> None:
    (folder.path / "summary.json").write_text(content, errors="surrogateescape")
    record = read_record(folder)
    assert record.damaged == ("summary.json",)
    assert record.summary == {}

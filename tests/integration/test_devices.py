"""Several processes, started by `--devices 2`, do what one does, and end as one does: one message, one exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.conftest import TINY, Run

pytestmark = pytest.mark.slow


@pytest.fixture
def even(tmp_path: Path, photos: Path) -> Path:
    """A recipe with a class token and mixing but without dropout, whose masks depend on how a batch is parted."""
    path = tmp_path / "even.yaml"
    text = TINY.format(root=photos, workers=0, steps=6)
    text = text.replace("drop_path: 0.1, dropout: 0.1", "drop_path: 0.0, dropout: 0.0").replace("pool: gap, ", "")
    path.write_text(text)
    return path


def read_lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_processes_train_and_evaluate_as_one(vit: Run, vit_process: Run, even: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert vit("train", even, "--out", one, "-q").code == 0
    result = vit_process("train", even, "--out", two, "--devices", 2, "--json", "-q")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out)["step"] == 6
    assert json.loads((two / "plan.json").read_text())["processes"] == 2
    alone, together = (read_lines(folder / "steps.jsonl") for folder in (one, two))
    assert [line["loss"] for line in together] == pytest.approx([line["loss"] for line in alone], abs=1e-5)
    assert [line["grad_norm"] for line in together] == pytest.approx([line["grad_norm"] for line in alone], rel=1e-4)
    last_alone, last_together = (json.loads((folder / "summary.json").read_text())["last"] for folder in (one, two))
    for score in ("val_loss", "top1", "top5"):
        assert last_together[score] == pytest.approx(last_alone[score], abs=1e-5)

    words = ["--flips", "--corruptions", "noise,jpeg", "--out"]
    judged = vit_process("eval", two, "--devices", 2, "--json", "--predictions", "two.csv", *words, "found_by_two")
    assert judged.code == 0, judged
    whole = vit("eval", two, "--devices", "cpu", "--json", "--predictions", "one.csv", *words, "found_by_one")
    scores, expected = json.loads(judged.out), json.loads(whole.out)
    for key in ("images", "top1", "macro_precision", "macro_recall", "macro_f1", "corruptions"):
        assert scores[key] == expected[key], key
    assert (scores["loss"], scores["ece"]) == pytest.approx((expected["loss"], expected["ece"]), abs=1e-5)
    tables = [(tmp_path / place / "confusion.csv").read_text() for place in ("found_by_one", "found_by_two")]
    assert tables[0] == tables[1]
    first, second = ((tmp_path / name).read_text().splitlines() for name in ("one.csv", "two.csv"))
    assert [line.split(",")[:3] for line in first] == [line.split(",")[:3] for line in second]


@pytest.mark.long
def test_recomputing_blocks_trains_alike_also_in_parts_on_two_processes(
    vit: Run, vit_process: Run, even: Path, tmp_path: Path
) -> None:
    plain, again, parts = tmp_path / "plain", tmp_path / "again", tmp_path / "parts"
    assert vit("train", even, "--out", plain, "-q").code == 0
    assert vit("train", even, "train.recompute=mlp", "--out", again, "-q").code == 0
    words = ["train.recompute=blocks", "train.shard=full", "--devices", 2]
    result = vit_process("train", even, *words, "--out", parts, "-q")
    assert (result.code, result.err) == (0, "")
    expected, same, close = (read_lines(folder / "steps.jsonl") for folder in (plain, again, parts))
    assert [line["loss"] for line in same] == [line["loss"] for line in expected]
    assert [line["grad_norm"] for line in same] == [line["grad_norm"] for line in expected]
    assert [line["loss"] for line in close] == pytest.approx([line["loss"] for line in expected], abs=1e-5)


def test_an_error_of_data_is_told_once(vit_process: Run, even: Path, photos: Path) -> None:
    for picture in (photos / "red").iterdir():
        picture.write_bytes(b"no picture")
    result = vit_process("train", even, "--devices", 2, "-q")
    assert result.code == 3, result
    assert result.err.count("Error:") == 1
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 3


@pytest.mark.long
def test_a_dry_run_prints_one_document(vit_process: Run, even: Path) -> None:
    result = vit_process("train", even, "--devices", 2, "--dry-run", "--json")
    assert result.code == 0, result
    facts = json.loads(result.out)
    assert facts["plan"]["processes"] == 2
    parted = vit_process("train", even, "--devices", 2, "--dry-run", "--json", "train.shard=full")
    assert parted.code == 0, parted
    assert json.loads(parted.out)["state_gib"] == pytest.approx(facts["state_gib"] / 2, rel=0.05)


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.long),
        (signal.SIGTERM, 143, "interrupted"),
    ],
)
def test_a_signal_to_the_launcher_saves_and_stops(
    vit: Run, even: Path, tmp_path: Path, number: signal.Signals, code: int, status: str
) -> None:
    run = tmp_path / "run"
    words = ["train", even, "--out", run, "--devices", 2, "-q", "train.steps=100000", "data.workers=1"]
    launcher = start(words, tmp_path)
    wait_for(run / "metrics.csv", launcher)
    launcher.send_signal(number)
    _, error = launcher.communicate(timeout=60)
    assert launcher.returncode == code, error
    assert error.count(f"Stopped by {number.name} at step") == 1
    assert "Error:" not in error
    assert json.loads((run / "status.json").read_text())["status"] == status
    steps = json.loads((run / "steps.jsonl").read_text().splitlines()[-1])["step"]
    assert (run / "checkpoints" / f"step-{steps:06d}.pt").is_file()


def test_processes_of_another_launcher_evaluate_together(vit: Run, even: Path, tmp_path: Path) -> None:
    assert vit("train", even, "--out", tmp_path / "run", "-q").code == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = ["eval", "run", "--json", "--devices", "cpu"]
    processes = [start(words, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in range(2)]
    first, second = (process.communicate(timeout=60) for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert json.loads(first[0])["images"] == 6
    assert second == ("", "")


def test_a_process_that_is_killed_is_named(even: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = start(["train", even, "--out", run, "--devices", 2, "-q", "train.steps=100000"], tmp_path)
    wait_for(run / "metrics.csv", launcher)
    first = json.loads((run / "status.json").read_text())["pid"]
    os.kill(first, signal.SIGKILL)
    _, error = launcher.communicate(timeout=60)
    assert launcher.returncode == 5, error
    assert "Error: process 0 was killed by SIGKILL" in error
    assert "Traceback" not in error


def start(words: list[object], folder: Path, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    command = [sys.executable, "-m", "vit_cli", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 90
    while not (path.is_file() and len(path.read_text().splitlines()) > 1):
        assert process.poll() is None
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.2)

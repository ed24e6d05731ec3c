"""How `vit` gets on with shells: pipes that close, odd names, empty arguments, and what is refused before it costs anything."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from vit_cli.cli import gates
from vit_cli.errors import GateError

VIT = [sys.executable, "-m", "vit_cli"]


@pytest.fixture
def run_folder(vit: Run, recipe: Path, tmp_path: Path) -> Path:
    """A finished run."""
    assert vit("train", recipe, "--out", tmp_path / "run", "-q", "train.steps=4").code == 0
    return tmp_path / "run"


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let stdin hold `content`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_paths_from_stdin_may_be_odd(
    vit: Run, run_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [b"f\xe9te.jpg", b" red.jpg "]
    for name in names:
        shutil.copy(photos / "red/000.jpg", os.fsencode(tmp_path) + b"/" + name)
    feed(monkeypatch, names[0] + b"\n" + names[1] + b"\r\n\n")
    result = vit("predict", run_folder, "-", "--format", "csv", "--top", "1")
    assert result.code == 0, result
    assert "\r" not in result.out
    rows = list(csv.reader(io.StringIO(result.out)))
    assert [row[0] for row in rows] == ["path", "f\\udce9te.jpg", " red.jpg "]


def test_no_path_on_stdin_is_an_error_of_data(vit: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"\n")
    result = vit("predict", run_folder, "-", "--format", "csv")
    assert (result.code, result.out) == (3, "")
    assert "stdin names no image" in result.err


def test_resuming_a_finished_run_as_json_gives_its_summary(vit: Run, run_folder: Path) -> None:
    result = vit("resume", run_folder, "--json", "-q")
    assert result.code == 0
    assert json.loads(result.out) == json.loads((run_folder / "summary.json").read_text())
    assert vit("resume", run_folder, "-q").out == ""
    assert "is finished" in vit("resume", run_folder).out


@pytest.mark.parametrize("place", ["missing/x.csv", "."])
def test_predictions_that_have_no_place_are_refused_before_the_evaluation(vit: Run, place: str) -> None:
    result = vit("eval", "no_model", "--predictions", place)
    assert result.code == 2, result
    assert "--predictions" in result.err


def test_scores_of_too_many_classes_are_refused_before_the_evaluation(
    vit: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_cli.metrics.confusion.CONFUSION_LIMIT", 2)
    result = vit("eval", run_folder, "--per-class", "--data", "not_there")
    assert result.code == 2
    assert "up to 2 classes; this model has 3" in result.err


def test_a_gate_at_exactly_the_score_is_met() -> None:
    scores = {"top1": 100 * 7 / 125}
    assert scores["top1"] / 100 < 0.056
    gates.check_gates({"top1": 0.056}, [scores])
    with pytest.raises(GateError):
        gates.check_gates({"top1": 0.0561}, [scores])


@pytest.mark.parametrize("name", ["x/y", "../../z", "..", ".", "x/", "n" * 300])
def test_a_name_is_no_path(vit: Run, recipe: Path, tmp_path: Path, name: str) -> None:
    result = vit("train", recipe, "--name", name)
    assert result.code == 2, result
    assert "plain name" in result.err
    assert not (tmp_path / "runs").exists()


def test_an_empty_out_is_refused(vit: Run, recipe: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = vit("train", recipe, "--out", "", "--overwrite")
    assert result.code == 2, result
    assert sorted(tmp_path.iterdir()) == before


def closed_pipe() -> int:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", pytest.param("jsonl", marks=pytest.mark.long)])
def test_a_reader_that_has_seen_enough_is_no_error(run_folder: Path, photos: Path, form: str) -> None:
    words = [*VIT, "predict", str(run_folder), str(photos), "--format", form]
    done = subprocess.run(words, stdout=closed_pipe(), stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_training_goes_on_when_nobody_listens(recipe: Path, tmp_path: Path) -> None:
    words = [*VIT, "train", str(recipe), "--out", str(tmp_path / "run")]
    pipe = closed_pipe()
    done = subprocess.run(words, stdout=pipe, stderr=pipe, cwd=tmp_path, timeout=120)
    assert done.returncode == 0
    assert json.loads((tmp_path / "run/status.json").read_text())["status"] == "finished"

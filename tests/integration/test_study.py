"""`vit study`: runs once, stopped and gone on with, told what is wrong before anything runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Run, is_refused
from vit_cli.errors import Stopped
from vit_cli.study.course import Course, Known, do_job, find_needed, find_open, make_runs_folder
from vit_cli.study.jobs import Job, make_jobs
from vit_cli.study.schema import load_study
from vit_cli.train.course import Options
from vit_cli.train.journal import Journal

TEXT = """\
title: Width
claim: wider is better
source: nowhere
published: nothing
base: digits_small
changes: [train.steps=4, train.batch_size=8, model.depth=1]
reference: narrow
folds: [0, 1]
arms:
  - {name: narrow, changes: [model.width=8, model.heads=1]}
  - {name: tuned, start: narrow, changes: [train.steps=4, train.batch_size=8, finetune.positions=new], expected: better}
  - {name: wide, changes: [model.width=16, train.steps=200]}
"""


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "width.yaml"
    path.write_text(text)
    return path


def test_a_stopped_study_keeps_its_runs_and_goes_on(vit: Run, tmp_path: Path) -> None:
    study = write(tmp_path)
    process = start(study)
    assert says(process, "2/6  tuned, fold 0")
    while not list((tmp_path / "out/runs").glob("*/status.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "The same command goes on from here." in told
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob("*/result.json")}
    assert len(before) == 2
    assert json.loads((tmp_path / "out/width/study.json").read_text())["runs"] == {"done": 2, "of": 6}

    result = vit("study", study, "--out", "out", "--json")
    (summary,) = json.loads(result.out)
    assert result.code == 0
    assert "6 runs, 2 of them done" in result.err
    assert summary["runs"] == {"done": 6, "of": 6}
    assert [arm["verdict"] for arm in summary["arms"]].count(None) == 1
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    kept = {path.name for folder in (tmp_path / "out/runs").iterdir() for path in folder.iterdir()}
    assert kept == {"result.json", "resolved.yaml", "model"}, (
        "what is left of a run: the model where another arm took it"
    )
    assert len(list((tmp_path / "out/runs").glob("*/model"))) == 2
    assert (tmp_path / "out/width/study.png").is_file()
    assert not (tmp_path / "runs").exists(), "a study leaves runs/latest alone"

    again = vit("study", study, "--out", "out", "--arms", "wide", "--dry-run")
    assert again.out.startswith("width: 0 runs to do")


def test_processes_share_the_runs_of_a_study(tmp_path: Path) -> None:
    study = write(tmp_path, TEXT.replace("train.steps=200", "train.steps=60"))
    several = [start(study, "--json") for _ in range(2)]
    first_seen: dict[Path, int] = {}
    while any(process.poll() is None for process in several):
        for path in tmp_path.glob("out/runs/*/result.json"):
            first_seen.setdefault(path, path.stat().st_mtime_ns)
        time.sleep(0.02)
    for process in several:
        out, err = process.communicate()
        assert process.returncode == 0, err
        (summary,) = json.loads(out)
        assert summary["runs"] == {"done": 6, "of": 6}
    assert len(first_seen) == 6
    assert {path: path.stat().st_mtime_ns for path in first_seen} == first_seen, "no run was made twice"


def test_the_owner_of_a_run_that_is_waited_for_is_named_and_its_failure_told(vit: Run, tmp_path: Path) -> None:
    study = write(tmp_path)
    only = ("folds=[0]", "--arms", "narrow")
    job = find_narrow(study)
    job.folder.mkdir(parents=True)
    holder = hold(job.folder)
    waited = f"waiting for other processes, 1 run left: narrow, fold 0, seed 0 is trained by process {holder.pid}"

    stopped = start(study, *only)
    assert says(stopped, waited)
    stopped.send_signal(signal.SIGTERM)
    assert "The same command goes on from here." in stopped.communicate(timeout=60)[1]
    assert stopped.returncode == 143

    failing = start(study, *only)
    assert says(failing, waited)
    (job.folder / "status.json").write_text(json.dumps({"status": "failed", "reason": "no luck"}))
    holder.communicate(timeout=60)
    assert "another process failed: no luck" in failing.communicate(timeout=60)[1]
    assert failing.returncode == 5

    assert vit("study", study, "--out", "out", *only).code == 0, "another command tries it again"


def test_a_run_that_is_trained_again_for_its_weights_is_not_done_before_its_end(tmp_path: Path) -> None:
    study = write(tmp_path, TEXT.replace("model.width=8,", "model.width=8, train.steps=2000,"))
    job = find_narrow(study)
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text(json.dumps({"scores": {"epoch": 1}, "seconds": 1}))
    assert find_open([job], set()) == []

    process = start(study, "folds=[0]", "--arms", "tuned")
    while not (job.folder / "status.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    (job.folder / "model").mkdir(exist_ok=True)
    assert find_open([job], {job.digest}) == [job]
    assert find_open([job], set()) == [], "its result is that of the first time"


def test_a_signal_after_the_last_step_ends_the_study_with_the_result_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = find_narrow(write(tmp_path))
    make_runs_folder(tmp_path / "out")
    end = Journal.end

    def end_and_signal(journal: Journal, finished: bool) -> None:
        end(journal, finished)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Journal, "end", end_and_signal)
    with pytest.raises(Stopped, match="SIGTERM after the last step"):
        do_job(job, Options(devices="cpu"), keeps_weights=False)
    assert find_open([job], set()) == []


def test_studies_share_a_failure_but_not_the_runs_that_others_have_mended(tmp_path: Path) -> None:
    study = write(tmp_path)
    make_runs_folder(tmp_path / "out")
    grid = make_jobs(load_study(str(study), ["folds=[0]"]), tmp_path / "out/runs")
    narrow, tuned, wide = grid.values()
    known, told = Known(), []

    def go_round(*jobs: Job) -> Course:
        part = {key: job for key, job in grid.items() if job in jobs}
        course = Course(part, find_needed(part.values()), Options(devices="cpu"), known, told.append)
        course.go_round()
        return course

    known.failures[narrow.digest] = "no luck"
    assert go_round(narrow, tuned).failures == [
        "narrow, fold 0, seed 0: no luck",
        "tuned, fold 0, seed 0: a run that it needs has failed",
    ]
    assert not narrow.folder.exists(), "neither was tried again"

    narrow.folder.mkdir()
    do_job(narrow, Options(devices="cpu"), keeps_weights=True)
    known.failures.pop(tuned.digest)
    assert go_round(narrow, tuned).failures == []
    assert told[-1].result is not None

    known.seen.add(wide.digest)
    wide.folder.mkdir()
    (wide.folder / "status.json").write_text(json.dumps({"status": "failed", "reason": "no luck"}))
    assert go_round(wide).failures == ["wide, fold 0, seed 0: another process failed: no luck"]


def find_narrow(study: Path) -> Job:
    """Give the first run of the arm 'narrow', fold 0 alone."""
    return next(iter(make_jobs(load_study(str(study), ["folds=[0]"]), study.parent / "out/runs").values()))


def start(study: Path, *words: str) -> subprocess.Popen[str]:
    """Start a study beside this process, in the study's folder."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "vit_cli", "study", str(study), "--out", "out", *words],
        cwd=study.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def says(process: subprocess.Popen[str], text: str) -> bool:
    """Read what a process writes on stderr up to a text; a minute later it is ended, and has not said it."""
    assert process.stderr is not None
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        return any(text in line for line in process.stderr)
    finally:
        timer.cancel()


def hold(folder: Path) -> subprocess.Popen[str]:
    """Have a process keep a run folder for itself until its input ends."""
    program = """import sys
from pathlib import Path
from vit_cli.train.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_launcher_of_several_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    process = start(write(tmp_path))
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "a launcher started 2 processes" in told
    assert "CUDA_VISIBLE_DEVICES=1 before it" in told


def test_a_bad_arm_is_told_before_anything_runs(vit: Run, tmp_path: Path) -> None:
    study = write(tmp_path, TEXT.replace("model.width=16", "model.widht=16"))
    result = vit("study", study, "--out", "out")
    assert is_refused(result, 2, "width.yaml:12", "arm 'wide'", "did you mean 'width'?")
    assert is_refused(vit("study", "width=3"), 2, "no study is named")
    assert is_refused(vit("study", write(tmp_path), "--arms", "x", "--out", "out"), 2, "has no arm 'x'")
    assert not (tmp_path / "out").exists()


def test_an_arm_that_can_not_be_trained_is_named_and_the_others_are(vit: Run, tmp_path: Path) -> None:
    text = TEXT.replace("model.width=16, train.steps=200", "'data.train={name: folder, root: nowhere}'")
    text = text.replace("folds: [0, 1]", "folds: [0]").replace("- {name: tuned, start: narrow", "- {name: tuned")
    study = write(
        tmp_path, text.replace("finetune.positions=new", "optim.lr=1e30, train.clip_norm=null, train.max_nonfinite=9")
    )
    result = vit("study", study, "--out", "out", "score=loss")
    assert is_refused(result, 5, "1 run failed", "wide, fold 0, seed 0:", "nowhere is not there")
    (summary,) = (
        json.loads(path.read_text(), parse_constant=pytest.fail) for path in tmp_path.glob("out/*/study.json")
    )
    assert summary["runs"] == {"done": 2, "of": 3}
    assert [(arm["name"], arm["mean"] is None, arm["verdict"]) for arm in summary["arms"]] == [
        ("narrow", False, None), ("tuned", True, None), ("wide", True, None),
    ]  # fmt: skip
    assert is_refused(vit("study", study, "--out", "out", "-n"), 3, "arm 'wide': ", "nowhere is not there")

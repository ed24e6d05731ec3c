"""A machine that runs out of something: the run ends with what is missing, and goes on when there is more."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import ROOT, Result, Shell, result_of, saved_steps
from tests.integration.conftest import Run
from vit_cli.train.folder import RunFolder
from vit_cli.train.keep import purge

pytestmark = pytest.mark.slow

Whole = Callable[..., Result]

SLOWLY = "sleep=0.1@point=before_step,count=24"
"""Leaves time to take something away between the first step and the last."""


def mount(*words: object) -> None:
    """Mount a file system; skips the test where that is not allowed."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """Have a file system of so many bytes, in memory, at `place` for the block."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], capture_output=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Let nobody write at `place` for the block."""
    mount("--bind", place, place)
    try:
        mount("-o", "remount,bind,ro", place)
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], capture_output=True)


def fill(disk: Path) -> Path:
    """Leave no space at all on a disk; give the file that takes it."""
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return disk / "filler"


def has_done(shell: Shell, steps: int) -> Callable[[], bool]:
    """Give a question: has the run done so many steps?"""
    journal = shell.run / "steps.jsonl"
    return lambda: journal.exists() and len(journal.read_text().splitlines()) >= steps


@pytest.mark.case("V1")
def test_a_full_disk_ends_the_run_with_what_was_saved_intact(shell: Shell, whole: Whole) -> None:
    with small_disk(shell.run, "1600k"):
        ended = shell.train()
        assert ended.code == 5, ended
        assert "can't be written" in ended.err
        assert "No space left on device" in ended.err
        assert ended.err.count("Error:") == 1
        assert saved_steps(shell.run), "what was saved before is there"
        assert not list(shell.run.glob("checkpoints/.step-*"))
        mount("-o", "remount,size=64m", shell.run)
        assert shell.resume().code == 0
        assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.parametrize("changes", [(), ("track.log_every=100 steps", "save.every=24 steps")], ids=["steps", "rows"])
@pytest.mark.case("V1", "V6")
def test_a_disk_without_room_for_the_journal_ends_the_run(shell: Shell, whole: Whole, changes: tuple[str, ...]) -> None:
    with small_disk(shell.run, "64m"):
        process = shell.start(*shell.words(*changes), fault=f"sleep=3@step=5;{SLOWLY}")
        shell.wait_for((shell.folder / "0.faults").exists, process)
        filler = fill(shell.run)
        ended = shell.wait(process)
        assert ended.code == 5, ended
        assert "No space left on device" in ended.err
        filler.unlink()
        assert shell.resume().code == 0
        assert result_of(shell.run).digest == whole().digest


@pytest.mark.fault
@pytest.mark.case("V2")
def test_a_limit_on_the_size_of_files_is_told_and_nothing_is_lost(shell: Shell, whole: Whole) -> None:
    process = shell.start(*shell.words(), fault=SLOWLY)
    shell.wait_for(has_done(shell, 8), process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
    ended = shell.wait(process)
    assert ended.code == 5, ended
    assert "can't be written" in ended.err
    assert "File too large" in ended.err
    assert saved_steps(shell.run)[0] == 6
    assert not list(shell.run.glob("checkpoints/.step-*"))
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("V3")
def test_too_few_open_files_are_told(shell: Shell, whole: Whole) -> None:
    process = shell.start(*shell.words(), fault="sleep=3")
    shell.wait_for((shell.folder / "0.faults").exists, process)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (16, 16))
    ended = shell.wait(process)
    assert ended.code in (3, 5), ended
    assert "open files" in ended.err
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("V3")
def test_too_little_shared_memory_is_told(shell: Shell, recipe: Path) -> None:
    script = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    words = [sys.executable, "-m", "vit_cli", "train", recipe, "--out", shell.run, "-q", "train.batch_size=48"]
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, words)]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=240, cwd=shell.folder
    )
    if done.returncode in (1, 32) and "vit" not in done.stderr:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    assert "shared memory" in done.stderr


@pytest.mark.fault
@pytest.mark.case("V4")
def test_a_folder_that_becomes_read_only_ends_the_run(shell: Shell, whole: Whole) -> None:
    process = shell.start(*shell.words(), fault=SLOWLY)
    shell.wait_for(has_done(shell, 9), process)
    with read_only(shell.run / "checkpoints"):
        ended = shell.wait(process)
    assert ended.code == 5, ended
    assert "Read-only file system" in ended.err
    assert saved_steps(shell.run)[0] == 6
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


def start_unread(shell: Shell, flag: str, fault: str = "") -> subprocess.Popen[bytes]:
    """Start the run with nobody who reads what it says."""
    words = [word for word in shell.words() if word != "-q"]
    paths = {"PYTHONPATH": os.pathsep.join((str(ROOT / "tests/faults/inject"), str(ROOT)))}
    faults = {"VIT_FAULT": fault, "VIT_FAULT_LOG": str(shell.folder / "faults")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vit_cli", *map(str, words), flag],
        cwd=shell.folder,
        env=os.environ | paths | faults | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for stream in (process.stdout, process.stderr):
        assert stream
        stream.close()
    return process


@pytest.mark.fault
@pytest.mark.case("V6")
def test_training_survives_a_reader_of_its_messages_that_leaves(shell: Shell, whole: Whole) -> None:
    process = start_unread(shell, "-v")
    assert process.wait(240) == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("V6")
def test_a_signal_to_a_run_that_nobody_listens_to_saves_all_the_same(shell: Shell, whole: Whole) -> None:
    process = start_unread(shell, "-q", fault="term@step=8")
    assert process.wait(240) == 143
    assert saved_steps(shell.run)[-1] in (9, 10)
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("V7")
def test_memory_that_runs_out_is_told_with_a_smaller_setting(shell: Shell) -> None:
    large = ["model.width=512", "model.heads=8", "model.patch=4", "train.batch_size=96", "data.workers=0"]
    process = shell.start(*shell.words(*large), fault="sleep=3")
    shell.wait_for((shell.folder / "0.faults").exists, process)
    used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(process.pid, resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    ended = shell.wait(process)
    assert ended.code == 5, ended
    assert "memory ran out with 96 images at once" in ended.err
    assert "train.micro_batch=48 keeps the global batch of 96" in ended.err


@pytest.mark.case("V8")
@pytest.mark.long
def test_a_clock_that_jumps_back_and_another_time_zone_change_nothing(
    vit: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", recipe, "data.workers=0", "train.steps=12", "--out"]
    assert vit(*words, tmp_path / "plain", "-q").code == 0
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    ended = vit(*words, tmp_path / "back", "-q", "--json")
    monkeypatch.undo()
    time.tzset()
    assert ended.code == 0, ended
    assert 0 < json.loads(ended.out)["train_seconds"] < 600
    assert result_of(tmp_path / "back") == result_of(tmp_path / "plain")


@pytest.mark.case("V8")
def test_checkpoints_are_kept_by_their_step_whatever_the_clock_said(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    for step in range(1, 6):
        path = folder.checkpoints / f"step-{step:06d}.pt"
        path.touch()
        os.utime(path, (1e9 - step, 1e9 - step))
    purge(folder, keep=2)
    assert saved_steps(tmp_path) == [4, 5]


@pytest.mark.fault
@pytest.mark.case("V9")
def test_a_killed_run_leaves_no_shared_memory_that_hinders_the_next(shell: Shell, whole: Whole) -> None:
    before = shared_memory()
    assert shell.train(fault="kill@step=9").code == -signal.SIGKILL
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()
    shell.close()
    assert not left_by_the_dead(before)


def shared_memory() -> set[str]:
    """List what lies in shared memory."""
    return {path.name for path in Path("/dev/shm").iterdir()}


def left_by_the_dead(before: set[str]) -> list[str]:
    """List what is new in shared memory and names, as torch's does, a process that does not live any more."""
    new = [name for name in shared_memory() - before if name.startswith("torch_")]
    return [name for name in new if not Path("/proc", name.split("_")[1]).exists()]

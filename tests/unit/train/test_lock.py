"""The lock of a run folder, between real processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from vit_cli.errors import TrainingError, UsageError
from vit_cli.train.lock import find_owner, locked

HEAD = """
import os, sys, time
from pathlib import Path
from vit_cli.train.lock import locked
folder = Path(sys.argv[1])
"""
HOLD = """
with locked(folder):
    print("held", flush=True)
    sys.stdin.readline()
print("freed", flush=True)
sys.stdin.readline()
"""
HOLD_WITH_A_WORKER = """
with locked(folder):
    worker = os.fork()
    if not worker:
        os.close(1)
        time.sleep(600)
        os._exit(0)
    print(worker, flush=True)
    sys.stdin.readline()
"""
HOLD_PAST_A_WORKER = """
with locked(folder):
    worker = os.fork()
    if not worker:
        os.closerange(3, 100)
        os._exit(0)
    os.waitpid(worker, 0)
    print("held", flush=True)
    sys.stdin.readline()
"""
CROWD = """
inside, times = folder / "inside", 0
while times < 400:
    try:
        with locked(folder):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            inside.unlink()
            times += 1
    except Exception as error:
        if "in use" not in str(error):
            raise
"""
NO_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    with locked(folder):
        print("held")
except Exception as error:
    print(type(error).__name__, error)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a script with the folder to lock; whatever still runs in the end is killed."""
    started = []

    def start_it(script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HEAD + script, str(tmp_path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start_it
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def write_lock(folder: Path, host: str, pid: int, age: timedelta = timedelta()) -> None:
    """Write the lock file of another process, taken `age` ago."""
    since = (datetime.now().astimezone() - age).isoformat(timespec="seconds")
    (folder / "lock").write_text(json.dumps({"host": host, "pid": pid, "since": since}))


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file system that knows no locks."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", refuse)


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.case("R23")
def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD)
    assert said(holder) == "held"
    with pytest.raises(UsageError) as caught, locked(tmp_path):
        pass
    since = datetime.fromisoformat(json.loads((tmp_path / "lock").read_text())["since"])
    assert abs(datetime.now().astimezone() - since) < timedelta(minutes=5)
    owner = f"process {holder.pid} on host {socket.gethostname()} (since {since:%H:%M})"
    assert caught.value.problem == f"{tmp_path} is in use by {owner}"
    assert f"kill {holder.pid}" in caught.value.hint


def test_the_folder_is_free_again_after_the_block(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD)
    assert said(holder) == "held"
    tell(holder)
    assert said(holder) == "freed"
    assert not list(tmp_path.iterdir())
    with locked(tmp_path) as former:
        assert former is None


def test_the_folder_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


@pytest.mark.case("R23")
def test_kill_9_frees_the_folder_at_once_while_a_worker_of_the_run_still_lives(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD_WITH_A_WORKER)
    worker = int(said(holder))
    try:
        holder.kill()
        holder.wait()
        os.kill(worker, 0)  # it lives
        with locked(tmp_path) as former:
            assert former is not None
            assert (former.host, former.pid) == (socket.gethostname(), holder.pid)
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_worker_that_ends_does_not_free_the_folder(tmp_path: Path, start: Start) -> None:
    assert said(start(HOLD_PAST_A_WORKER)) == "held"
    with pytest.raises(UsageError, match="in use by process"), locked(tmp_path):
        pass


@pytest.mark.slow
def test_of_many_that_come_and_go_never_two_are_inside(start: Start) -> None:
    assert [process.wait(120) for process in [start(CROWD) for _ in range(3)]] == [0, 0, 0]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'{"host": "h"}', b'{"host": "\\ud800", "pid": 1, "since": "x"}', b"\xff" * 9000],
)
def test_a_free_lock_may_hold_anything(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    with locked(tmp_path) as former:
        assert former is None


def test_an_owner_can_not_command_the_terminal(tmp_path: Path) -> None:
    write_lock(tmp_path, "h\x1b[31m", 1, timedelta(days=400))
    with locked(tmp_path) as former:
        assert former is not None
        assert str(former) == f"process 1 on host h\\x1b[31m (since {former.since:%Y-%m-%d %H:%M})"


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("keep me")
    (tmp_path / "lock").symlink_to(other)
    with pytest.raises(TrainingError, match="lock can't be written"), locked(tmp_path):
        pass
    assert other.read_text() == "keep me"


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(TrainingError, match=r"lock can't be written: .*No such file") as caught,
        locked(tmp_path / "no"),
    ):
        pass
    assert "read-only" in caught.value.hint


def test_a_full_disk_is_told_and_nothing_stays_locked(tmp_path: Path, start: Start) -> None:
    out, _ = start(NO_ROOM).communicate()
    assert out.startswith(f"TrainingError {tmp_path / 'lock'} can't be written: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_living_process_of_this_host_keeps_the_folder(tmp_path: Path, start: Start, ended: int) -> None:
    holder = start(HOLD)
    assert said(holder) == "held"
    with pytest.raises(UsageError, match=f"in use by process {holder.pid} on host"), locked(tmp_path):
        pass
    for gone in (ended, os.getpid(), 10**30):
        write_lock(tmp_path, socket.gethostname(), gone)
        with locked(tmp_path) as former:
            assert former is not None
            assert former.pid == gone
        assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize(
    ("since", "heartbeat", "is_alive"),
    [(1, None, True), (1, 6000, True), (6000, 1, True), (6000, 6000, False), (6000, None, False)],
)
def test_without_locks_a_process_of_another_host_lives_by_its_heartbeat(
    tmp_path: Path, since: int, heartbeat: int | None, is_alive: bool
) -> None:
    write_lock(tmp_path, "elsewhere", 4711, timedelta(seconds=since))
    if heartbeat is not None:
        beat = datetime.now().astimezone() - timedelta(seconds=heartbeat)
        (tmp_path / "status.json").write_text(json.dumps({"heartbeat": beat.isoformat(timespec="seconds")}))
    if is_alive:
        with pytest.raises(UsageError, match="in use by process 4711 on host elsewhere") as caught, locked(tmp_path):
            pass
        assert "stop it there" in caught.value.hint
    else:
        with locked(tmp_path) as former:
            assert former is not None
            assert former.pid == 4711


def test_who_trains_in_a_folder_is_seen_without_locking_it(tmp_path: Path, start: Start, ended: int) -> None:
    assert find_owner(tmp_path) is None
    write_lock(tmp_path, socket.gethostname(), ended)
    assert find_owner(tmp_path) is None
    (tmp_path / "lock").unlink()
    holder = start(HOLD)
    assert said(holder) == "held"
    owner = find_owner(tmp_path)
    assert owner is not None
    assert owner.pid == holder.pid
    with pytest.raises(UsageError, match="in use"), locked(tmp_path):
        pass

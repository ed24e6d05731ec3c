"""Batches made ahead by real worker processes that are slow, hang, or get signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vit_cli.data.ahead import Patience, make_batches
from vit_cli.errors import DataError


def slow(number: int) -> int:
    time.sleep(0.7 if number == 1 else 0.0)
    return number


def hang(number: int) -> int:
    time.sleep(3600 if number == 1 else 0.0)
    return number


def report_pid(number: int) -> int:
    time.sleep(0.2)
    return os.getpid()


def die(number: int) -> int:
    if number == 1:
        time.sleep(0.5)  # let the batch before it leave
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def broken(number: int) -> int:
    raise DataError(f"image {number} is broken")


@pytest.mark.slow
def test_slow_images_are_told_of_and_waited_for() -> None:
    notes = list[str]()
    assert list(make_batches(slow, range(3), 1, Patience(6.0, notes.append))) == [0, 1, 2]
    assert notes
    assert all("for images; its 1 workers are alive" in note for note in notes)


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_wait_in_time() -> None:
    begin = time.monotonic()
    batches = make_batches(hang, range(3), 1, Patience(1.0))
    assert next(batches) == 0
    with pytest.raises(DataError, match="no images came for 1 s") as caught:
        next(batches)
    assert "data.timeout" in caught.value.hint
    assert time.monotonic() - begin < 30


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_worker_goes_on_after_a_signal_that_reaches_all_processes(number: signal.Signals) -> None:
    batches = make_batches(report_pid, range(6), 1)
    worker = next(batches)
    os.kill(worker, number)
    assert list(batches) == [worker] * 5


@pytest.mark.slow
def test_a_worker_that_died_is_noticed_soon() -> None:
    begin = time.monotonic()
    batches = make_batches(die, range(3), 1)
    assert next(batches) == 0
    with pytest.raises(DataError, match="a process that loads images died"):
        next(batches)
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_error_of_data_travels_whole(workers: int) -> None:
    with pytest.raises(DataError, match="image 0 is broken"):
        next(make_batches(broken, range(1), workers))


ORPHANED = """
import os, time
from torch.utils.data._utils import worker
from vit_cli.data.ahead import make_batches

class Late(worker.ManagerWatchdog):
    def __init__(self):
        print(os.getpid(), flush=True)
        time.sleep(2)  # meanwhile the main process is killed
        super().__init__()

worker.ManagerWatchdog = Late
next(make_batches(int, range(9), workers=1))
"""


@pytest.mark.slow
def test_a_worker_whose_main_process_is_killed_while_it_starts_ends_too() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, text=True) as main:
        worker = Path("/proc", main.stdout.readline().strip())
        assert worker.is_dir()
        main.kill()
        end = time.monotonic() + 30
        while worker.exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert not worker.exists()

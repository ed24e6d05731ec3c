"""One command, several processes: who starts, who speaks, and what is told of a failure."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from vit_cli.cli.launch import Launch, hand_over, launch_processes
from vit_cli.errors import DataError, Stopped, UsageError, VitError

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "VIT_REPORTS")
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}

Fill = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Set these variables, and no others of a launcher or of Slurm."""
    for name in [*LAUNCHERS, *(name for name in os.environ if name.startswith("SLURM_"))]:
        monkeypatch.delenv(name, raising=False)

    def fill(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return fill


@pytest.mark.parametrize("devices", ["cpu", "auto", "1"])
def test_one_process_launches_no_others(environment: Fill, monkeypatch: pytest.MonkeyPatch, devices: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert not launch_processes(devices)


@pytest.mark.parametrize("variables", [{"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, SLURM])
def test_a_process_that_a_launcher_started_launches_no_others(environment: Fill, variables: dict[str, str]) -> None:
    environment(**variables)
    assert not launch_processes("2")


def test_under_a_foreign_launcher_the_first_process_speaks(environment: Fill) -> None:
    wrong, broken = UsageError("no", "try"), DataError("x.jpg is broken", "mend it")
    environment(RANK="0")
    assert hand_over(wrong) == (wrong, 2)
    environment(RANK="1")
    assert hand_over(wrong) == (None, 2), "the first says the same"
    shown, code = hand_over(broken)
    assert (str(shown), code) == ("process 1: x.jpg is broken\n  mend it", 3)


class Failure(NamedTuple):
    """What torch's launcher tells of a process that failed."""

    exitcode: int
    timestamp: float


@pytest.fixture
def launch(environment: Fill, tmp_path: Path) -> Launch:
    environment(VIT_REPORTS=str(tmp_path))
    return Launch(tmp_path, 2)


def report(environment: Fill, rank: int, error: VitError) -> int:
    environment(RANK=str(rank))
    shown, code = hand_over(error)
    assert shown is None
    return code


def test_the_launcher_tells_the_cause_and_not_what_followed(environment: Fill, launch: Launch) -> None:
    now = time.time()
    assert launch.find_error({}) is None
    assert report(environment, 0, VitError("a bug: connection lost")) == 1
    assert str(launch.find_error({0: Failure(1, now), 1: Failure(-15, now)})) == "a bug: connection lost"
    killed = launch.find_error({0: Failure(1, now), 1: Failure(-9, int(now))})
    assert killed is not None
    assert (killed.problem, killed.exit_code) == ("process 1 was killed by SIGKILL", 5)
    late = launch.find_error({0: Failure(1, now), 1: Failure(-9, now + 30)})
    assert str(late) == "a bug: connection lost", "one that hung was killed by the launcher"
    assert report(environment, 1, DataError("x.jpg is broken")) == 3
    found = launch.find_error({0: Failure(1, now), 1: Failure(3, now)})
    assert found is not None
    assert (found.problem, found.exit_code) == ("x.jpg is broken", 3)


def test_processes_that_were_told_to_stop_let_each_other_save(environment: Fill, launch: Launch) -> None:
    assert report(environment, 0, Stopped("stopped at step 7; saved", exit_code=143)) == 0
    found = launch.find_error({})
    assert found is not None
    assert (found.problem, found.exit_code) == ("stopped at step 7; saved", 143)


def test_a_death_counts_before_the_stop_that_followed_from_it(environment: Fill, launch: Launch) -> None:
    assert report(environment, 0, Stopped("stopped after the last step", exit_code=143)) == 0
    killed = {1: Failure(-9, int(time.time()))}
    found = launch.find_error(killed)
    assert found is not None
    assert (found.problem, found.exit_code) == ("process 1 was killed by SIGKILL", 5)
    launch.heard = signal.SIGTERM
    found = launch.find_error(killed)
    assert found is not None
    assert found.exit_code == 143, "asked for, and one did not get ready in time"


def test_a_signal_reaches_the_processes_once_and_ends_them_the_second_time(launch: Launch) -> None:
    with pytest.raises(Stopped, match="stopped by SIGINT") as caught:
        launch.forward(signal.SIGINT, None)
    assert caught.value.exit_code == 130, "the processes are not there yet"

    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        for rank in range(2):
            (launch.folder / f"{rank}.pid").write_text(str(os.getpid()))
        launch.heard = 0
        launch.forward(signal.SIGUSR1, None)
        assert set(heard) == {signal.SIGUSR1}
        with pytest.raises(Stopped):
            launch.forward(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGUSR1, before)

"""A run told to stop finishes its step, saves and says so; going on ends as if it had never stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Result, Shell, read_lines, result_of, saved_steps

pytestmark = pytest.mark.slow

Whole = Callable[..., Result]

SLOWLY = "sleep=0.1@point=before_step,count=24"
"""Leaves time to send a signal from outside between the first step and the last."""


def has_done(shell: Shell, steps: int) -> Callable[[], bool]:
    """Give a question: has the run done so many steps?"""
    journal = shell.run / "steps.jsonl"
    return lambda: journal.exists() and len(journal.read_text().splitlines()) >= steps


def stopped_at(shell: Shell) -> int:
    """Give the step at which a run was stopped, which is the only checkpoint out of the order, and the newest."""
    status = json.loads((shell.run / "status.json").read_text())
    assert status["status"] == "interrupted"
    saved = saved_steps(shell.run)
    assert set(saved) <= {6, 8, 12, 16, 18, saved[-1]}
    assert read_lines(shell.run / "steps.jsonl")[-1]["step"] == saved[-1]
    return saved[-1]


@pytest.mark.case("R6")
def test_sigterm_in_an_epoch_saves_the_step_and_goes_on_to_the_bit(shell: Shell, whole: Whole) -> None:
    ended = shell.train(fault="term@step=8")
    assert ended.code == 143
    assert stopped_at(shell) in (9, 10)
    assert "Stopped by SIGTERM at step" in ended.err
    assert "vit resume" in ended.err
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.case("R7")
def test_sigterm_to_the_launcher_stops_all_processes_at_one_step(shell: Shell, whole: Whole, processes: int) -> None:
    launcher = shell.start(*shell.words(processes=processes), fault=SLOWLY)
    shell.wait_for(has_done(shell, 7), launcher)
    launcher.send_signal(signal.SIGTERM)
    ended = shell.wait(launcher)
    assert ended.code == 143, ended.err
    assert (ended.err.count("Stopped by"), ended.err.count("Error:")) == (1, 0)
    assert 7 <= stopped_at(shell) < 24
    assert shell.resume(processes=processes).code == 0
    assert result_of(shell.run) == whole(processes)


@pytest.mark.fault
@pytest.mark.case("R8")
def test_sigterm_to_one_process_stops_all_of_them(shell: Shell, whole: Whole) -> None:
    ended = shell.train(processes=2, fault="term@step=8,rank=1")
    assert ended.code == 143, ended.err
    assert stopped_at(shell) in (9, 10)
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


@pytest.mark.fault
@pytest.mark.case("R9")
def test_sigusr1_through_torchrun_saves_and_is_no_crash_to_restart(shell: Shell, whole: Whole) -> None:
    handled = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
    words = [
        "--standalone",
        "--nproc-per-node",
        2,
        "--max-restarts",
        2,
        "--signals-to-handle",
        handled,
        "-m",
        "vit_cli",
    ]
    train = ["train", shell.recipe, "--out", shell.run, "-q"]
    launcher = shell.start(*words, *train, module="torch.distributed.run", fault=SLOWLY)
    shell.wait_for(has_done(shell, 7), launcher)
    launcher.send_signal(signal.SIGUSR1)
    ended = shell.wait(launcher, tracebacks=True)  # torchrun's own
    assert ended.code != 0
    assert 7 <= stopped_at(shell) < 24
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


@pytest.mark.parametrize(
    ("kind", "code"), [("term", 143), pytest.param("int", 130, marks=pytest.mark.fault)], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.case("R10")
def test_a_second_signal_during_a_save_leaves_at_once(shell: Shell, whole: Whole, kind: str, code: int) -> None:
    here = "@point=ckpt_mid_file,step=12"
    ended = shell.train(fault=f"{kind}{here};sleep=0.2{here};{kind}{here};sleep=60{here}")
    assert ended.code == code, ended.err
    assert ended.seconds < 60
    assert saved_steps(shell.run) == [6, 8]
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.case("R11")
def test_sigterm_during_an_evaluation_has_it_done_again(shell: Shell, whole: Whole) -> None:
    ended = shell.train(fault="term@point=val,step=16")
    assert ended.code == 143, ended.err
    assert stopped_at(shell) == 16
    judged = [int(line.partition(",")[0]) for line in (shell.run / "metrics.csv").read_text().splitlines()[1:]]
    assert judged == [8], "half an evaluation is none"
    assert (shell.run / "checkpoints/best.pt").resolve().name == "step-000008.pt"
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("R12")
def test_sigterm_during_a_save_finishes_that_save(shell: Shell, whole: Whole) -> None:
    ended = shell.train(fault="term@point=ckpt_mid_file,step=12;sleep=1@point=ckpt_mid_file,step=12")
    assert ended.code == 143, ended.err
    assert 12 in saved_steps(shell.run)
    assert stopped_at(shell) <= 14
    assert not list(shell.run.glob("checkpoints/.step-*"))
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.parametrize(
    ("kind", "code", "name"), [("term", 143, "SIGTERM"), ("int", 130, "SIGINT"), ("usr1", 143, "SIGUSR1")]
)
@pytest.mark.fault
@pytest.mark.case("R13")
def test_a_signal_before_the_first_step_leaves_nothing(shell: Shell, kind: str, code: int, name: str) -> None:
    ended = shell.train(fault=f"{kind}@point=scan")
    assert ended.code == code, ended.err
    assert f"Stopped by {name}" in ended.err
    assert not shell.run.exists()


@pytest.mark.case("R13")
def test_ctrl_c_while_torch_is_imported_leaves_quietly(shell: Shell) -> None:
    process = shell.start(*shell.words())
    maps = Path(f"/proc/{process.pid}/maps")
    shell.wait_for(lambda: "libtorch_python" in maps.read_text(), process)
    process.send_signal(signal.SIGINT)
    ended = shell.wait(process)
    assert (ended.code, ended.err) == (130, "")
    assert not shell.run.exists()


@pytest.mark.fault
@pytest.mark.case("R14")
def test_a_save_slower_than_the_launchers_patience_leaves_the_one_before(shell: Shell, whole: Whole) -> None:
    words = ["--standalone", "--nproc-per-node", 1, "--shutdown-timeout", 2, "-m", "vit_cli"]
    train = ["train", shell.recipe, "--out", shell.run, "-q"]
    faults = f"{SLOWLY};sleep=60@point=ckpt_mid_file,step=9"
    launcher = shell.start(*words, *train, module="torch.distributed.run", fault=faults)
    shell.wait_for(has_done(shell, 9), launcher)
    launcher.send_signal(signal.SIGTERM)
    ended = shell.wait(launcher, tracebacks=True)  # torchrun's own
    assert ended.code != 0
    assert saved_steps(shell.run) == [6, 8]
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()

"""A run killed while it saves, or restarted by its launcher, ends as if nothing had happened."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.conftest import Result, Shell, result_of, saved_steps

pytestmark = pytest.mark.slow

Whole = Callable[..., Result]


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("ckpt_mid_file", marks=pytest.mark.case("R1")),
        pytest.param("ckpt_written", marks=[pytest.mark.case("R2"), pytest.mark.fault]),
        pytest.param("ckpt_before_rename", marks=[pytest.mark.case("R3"), pytest.mark.fault]),
    ],
)
def test_a_run_killed_while_it_saves_goes_on_from_the_checkpoint_before(shell: Shell, whole: Whole, point: str) -> None:
    assert shell.train(fault=f"kill@point={point},step=12").code == -signal.SIGKILL
    assert saved_steps(shell.run) == [6, 8]
    assert list(shell.run.glob("checkpoints/.step-000012.pt.*"))
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("R4")
def test_a_run_killed_right_after_the_rename_goes_on_from_the_new_checkpoint(shell: Shell, whole: Whole) -> None:
    keep = "save.keep=2"
    assert shell.train(keep, fault="kill@point=ckpt_after_rename,step=12").code == -signal.SIGKILL
    assert saved_steps(shell.run) == [6, 8, 12], "nothing is removed yet"
    assert shell.resume("--time", "0s").code == 143
    assert saved_steps(shell.run) == [8, 12, 13], "it went on from 12, and 6 is removed; 8 is the best"
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("R5")
def test_a_run_killed_while_it_removes_old_checkpoints_removes_them_later(shell: Shell, whole: Whole) -> None:
    assert shell.train("save.keep=1", fault="kill@point=purge").code == -signal.SIGKILL
    assert saved_steps(shell.run) == [6, 8]
    assert shell.resume().code == 0
    left = saved_steps(shell.run)
    assert left[-1] == 24
    assert len(left) <= 2, "the last and the best"
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("R25")
def test_a_group_that_torchrun_restarts_goes_on_with_its_run(shell: Shell, whole: Whole) -> None:
    launcher = ["--standalone", "--nproc-per-node", 2, "--max-restarts", 2, "-m", "vit_cli"]
    words = ["train", shell.recipe, "--out", shell.run, "-q"]
    ended = shell(*launcher, *words, module="torch.distributed.run", fault="exc@step=7,rank=1")
    assert ended.code == 0, ended.err
    assert "injected" in ended.err, "it did fail"
    assert result_of(shell.run) == whole(2)

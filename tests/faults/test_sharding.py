"""Training with the weights in parts (`train.shard=full`) loses no more than training with whole ones."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.faults.conftest import ORDERED, Result, Shell, read_lines, result_of, saved_steps

pytestmark = pytest.mark.slow

Whole = Callable[..., Result]

PARTS = "train.shard=full"


@pytest.mark.case("R8")
@pytest.mark.long
def test_a_run_in_parts_stopped_by_a_signal_to_one_process_ends_equal(shell: Shell, whole: Whole) -> None:
    ended = shell.train(PARTS, processes=2, fault="term@step=8,rank=1")
    assert ended.code == 143, ended
    assert saved_steps(shell.run)[-1] in (9, 10)
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2, PARTS)


@pytest.mark.fault
@pytest.mark.case("R1")
def test_a_run_in_parts_killed_while_it_saves_goes_on_from_the_checkpoint_before(shell: Shell, whole: Whole) -> None:
    ended = shell.train(PARTS, processes=2, fault="kill@point=ckpt_mid_file,step=12,rank=0")
    assert ended.code == 5, ended
    assert "process 0 was killed by SIGKILL" in ended.err
    assert saved_steps(shell.run) == [6, 8]
    assert shell.resume("data.workers=0", processes=2).code == 0
    assert result_of(shell.run) == whole(2, PARTS)


@pytest.mark.fault
@pytest.mark.case("R7")
def test_a_run_in_four_parts_killed_and_stopped_ends_equal(shell: Shell, whole: Whole) -> None:
    assert shell.train(PARTS, processes=4, fault="kill@step=8,rank=2").code == 5
    assert shell.resume(processes=4, fault="term@step=15,rank=3").code == 143
    assert shell.resume(processes=4).code == 0
    assert result_of(shell.run) == whole(4, PARTS)


@pytest.mark.fault
@pytest.mark.case("R19")
def test_a_run_in_parts_goes_on_in_more_parts_and_as_a_whole(shell: Shell, whole: Whole) -> None:
    assert shell.train(*ORDERED, PARTS, processes=2, fault="term@step=5,rank=0").code == 143
    assert shell.resume(processes=4, fault="term@step=13,rank=3").code == 143
    assert shell.resume().code == 0
    expected, found = whole(1, *ORDERED), result_of(shell.run)
    assert [step[0] for step in found.steps] == list(range(1, 25))
    assert [step[1] for step in found.steps] == pytest.approx([step[1] for step in expected.steps], abs=1e-5)


@pytest.mark.fault
@pytest.mark.case("N1")
def test_a_loss_that_is_nan_on_one_process_changes_no_part(shell: Shell, whole: Whole) -> None:
    ended = shell.train(PARTS, processes=2, fault="nan_loss@step=7,rank=1")
    assert ended.code == 5, ended
    assert [fact["step"] for fact in read_lines(shell.run / "nonfinite.jsonl")] == [8]
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2, PARTS)


def test_weights_in_parts_are_saved_whole_and_judged_by_one_process(shell: Shell) -> None:
    assert shell.train(PARTS, processes=2).code == 0
    last = json.loads((shell.run / "summary.json").read_text())["last"]
    judged = shell("eval", shell.run / "checkpoints/last.pt", "--json", "--devices", "cpu")
    assert judged.code == 0, judged
    scores = json.loads(judged.out)
    assert scores["top1"] == last["top1"]
    assert scores["loss"] == pytest.approx(last["val_loss"], abs=1e-5)


@pytest.mark.fault
@pytest.mark.case("R21")
def test_a_run_in_parts_does_not_become_another_run(shell: Shell) -> None:
    assert shell.train(PARTS, "--time", "0s", processes=2).code == 143
    ended = shell.resume("train.shard=none", processes=2)
    assert ended.code == 4, ended
    assert "train.shard: full -> none" in ended.err

"""BatchNorm's running statistics are as exact as the weights: over processes, stops, skipped steps and parts."""

from __future__ import annotations

import json

import pytest
import torch

from tests.faults.conftest import Shell, read_lines, result_of
from tests.faults.test_numbers import learned
from vit_cli.checkpoint.file import read_checkpoint

RESNET = "model={name: resnet, size: 18, blocks: [1, 1], width: 8, res: 32}"


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "micro_batch"), [(1, 4), pytest.param(2, 2, marks=pytest.mark.long)])
def test_a_run_stopped_within_an_epoch_ends_equal_to_the_bit(shell: Shell, processes: int, micro_batch: int) -> None:
    changes = [RESNET, f"train.micro_batch={micro_batch}"]
    assert shell.train(*changes, processes=processes).code == 0
    undisturbed = result_of(shell.run)
    assert shell.train(*changes, "--overwrite", "--time", "0s", processes=processes).code == 143
    assert shell.resume("--time", "0s", processes=processes).code == 143
    assert shell.resume(processes=processes).code == 0
    assert result_of(shell.run) == undisturbed


@pytest.mark.long
def test_a_skipped_step_leaves_the_statistics_of_all_processes_alone(shell: Shell) -> None:
    settings = [RESNET, "train.max_nonfinite=1", "save.every=1 steps", "save.keep=30"]
    assert shell.train(*settings, processes=2, fault="nan_loss@step=7,rank=1").code == 0
    assert [fact["step"] for fact in read_lines(shell.run / "nonfinite.jsonl")] == [8]
    before, after, later = (learned(shell.run, step) for step in (7, 8, 9))
    assert before == after
    assert after != later
    weights = read_checkpoint(shell.run / "checkpoints/step-000024.pt")["model"]
    assert weights["bn1.num_batches_tracked"] == 23
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("averaged", ["null", "{decay: 0.9}"])
def test_two_processes_judge_with_what_they_save(shell: Shell, averaged: str) -> None:
    assert shell.train(RESNET, f"train.ema={averaged}", processes=2).code == 0
    last = json.loads((shell.run / "summary.json").read_text())["last"]
    for processes in (1, 2):
        judged = shell("eval", shell.run / "checkpoints/last.pt", "--json", "--devices", processes)
        scores = json.loads(judged.out)
        assert scores["images"] == 20
        assert scores["top1"] == pytest.approx(last["top1"], abs=1e-9)
        assert scores["loss"] == pytest.approx(last["val_loss"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_a_model_in_parts_has_the_statistics_of_a_whole_one(shell: Shell) -> None:
    found = []
    for parts in ("none", "full"):
        assert shell.train(RESNET, f"train.shard={parts}", "--overwrite", processes=2).code == 0
        found.append(read_checkpoint(shell.run / "checkpoints/step-000024.pt")["model"])
    whole, parted = found
    assert whole.keys() == parted.keys()
    for name in whole:
        torch.testing.assert_close(parted[name], whole[name], rtol=1e-3, atol=1e-4)

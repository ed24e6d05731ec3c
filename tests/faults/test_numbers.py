"""Numbers that are not finite never reach the weights; the same seed gives the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.conftest import Result, Shell, read_lines, result_of, saved_steps
from tests.integration.conftest import Run
from vit_cli.checkpoint.file import digest, read_checkpoint

Whole = Callable[..., Result]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.case("N1")
def test_a_loss_that_is_nan_on_one_process_stops_all_before_the_update(shell: Shell, whole: Whole) -> None:
    ended = shell.train(processes=2, fault="nan_loss@step=7,rank=1")
    assert ended.code == 5, ended.err
    assert "process 1" in ended.err
    assert saved_steps(shell.run) == [6]
    (fact,) = read_lines(shell.run / "nonfinite.jsonl")
    assert (fact["step"], fact["seed"]) == (8, 0)
    healthy, broken = fact["ranks"]
    assert healthy["loss"] > 0
    assert broken["loss"] is None
    assert len({*healthy["indices"], *broken["indices"]}) == 8, "the images of the whole batch, to look at them"
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2), "a passing fault leaves no trace in the weights"


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("N2")
def test_a_gradient_that_is_not_finite_on_one_process_stops_all_before_the_update(shell: Shell, whole: Whole) -> None:
    ended = shell.train(processes=2, fault="nan_grad@step=7,rank=1")
    assert ended.code == 5, ended.err
    assert "the gradient is not finite" in ended.err
    (fact,) = read_lines(shell.run / "nonfinite.jsonl")
    assert fact["grad_norm"] is None
    assert all(part["loss"] > 0 for part in fact["ranks"])
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


def learned(run: Path, step: int) -> str:
    """Digest the weights, averages and moments of a checkpoint, without how far the run was and its learning rate."""
    content = read_checkpoint(run / f"checkpoints/step-{step:06d}.pt")
    return digest({"model": content["model"], "ema": content["ema"], "optimizer": content["optimizer"]["state"]})


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("N3")
def test_so_many_steps_that_are_not_finite_are_skipped_and_one_more_ends_the_run(shell: Shell) -> None:
    settings = ["train.max_nonfinite=3", "save.every=1 steps", "save.keep=30"]
    assert shell.train(*settings, processes=2, fault="nan_loss@step=7,rank=1,count=3").code == 0
    facts = read_lines(shell.run / "nonfinite.jsonl")
    assert [fact["step"] for fact in facts] == [8, 9, 10]
    drawn = {index for fact in facts for part in fact["ranks"] for index in part["indices"]}
    assert len(drawn) > 16, "skipped steps use up their images"
    assert len({learned(shell.run, step) for step in (7, 8, 9, 10)}) == 1, "nothing that was learned changes"
    assert learned(shell.run, 11) != learned(shell.run, 10)
    losses = [line["loss"] for line in read_lines(shell.run / "steps.jsonl")]
    assert [step for step, loss in enumerate(losses, 1) if loss is None] == [8, 9, 10]

    ended = shell.train(*settings, "--overwrite", processes=2, fault="nan_loss@step=7,rank=1,count=4")
    assert ended.code == 5, ended.err
    assert [fact["step"] for fact in read_lines(shell.run / "nonfinite.jsonl")] == [8, 9, 10, 11]


@pytest.mark.case("N6")
def test_a_checkpoint_with_weights_that_are_not_finite_is_refused(vit: Run, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "data.workers=0", "--out", run, "--time", "0s", "-q").code == 143
    path = run / "checkpoints/step-000001.pt"
    content: dict[str, Any] = read_checkpoint(path)
    name = next(iter(content["model"]))
    for part in ("model", "ema"):
        content[part][name].view(-1)[0] = float("nan")
    torch.save(content, path)
    for verb in ("resume", "eval"):
        ended = vit(verb, run)
        assert ended.code == 4, ended
        assert "finite" in ended.err
        assert name in ended.err


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("optim.lr=0", "optim.lr"),
        ("schedule={name: cosine, warmup: 25 steps}", "schedule.warmup"),
        ("train={epochs: 0, batch_size: 8}", "train.epochs"),
        ("train.steps=0", "train.steps"),
    ],
)
@pytest.mark.case("N7")
def test_settings_that_train_nothing_are_refused(vit: Run, recipe: Path, tmp_path: Path, change: str, key: str) -> None:
    ended = vit("train", recipe, change, "--out", tmp_path / "run")
    assert ended.code == 2, ended
    assert key in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("N8")
def test_the_same_seed_gives_the_same_run_and_another_seed_another(shell: Shell, whole: Whole) -> None:
    assert shell.train().code == 0
    assert result_of(shell.run) == whole()
    assert shell.train("seed=1", "--overwrite").code == 0
    assert result_of(shell.run).digest != whole().digest

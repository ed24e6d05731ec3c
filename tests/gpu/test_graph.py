"""A step as one CUDA graph does what the kernels one by one do: dropout, averages, a stop and a resume included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.conftest import TINY, Run, vit, write_photos
from tests.integration.test_resume import final, same
from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.train.folder import RunFolder
from vit_cli.train.progress import Silence
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import wire

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
assert vit  # the fixture is used by name
ON, OFF = "train.graph=on", "train.graph=off"
EXACT = ("schedule={name: constant}", "optim.lr=0.001953125", "optim.layer_decay=0.5")
"""Learning rates that are powers of two: a graph takes them in float32."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Twenty steps with dropout, drop path, mixing and averages, saved after every fourth."""
    path = tmp_path / "tiny.yaml"
    text = TINY.format(root=write_photos(tmp_path / "photos"), workers=2, steps=20)
    path.write_text(text.replace("dropout: 0.1}", "dropout: 0.1, attention_dropout: 0.1}"))
    return path


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in lines(run)]


@pytest.mark.parametrize(
    "more", [(), ("loss={name: cross_entropy, l1: 1e-4}", "train.clip_norm=0.5"), ("mix.mixup=0", "mix.cutmix=0")]
)
def test_a_graph_ends_where_single_kernels_end_to_the_bit(
    vit: Run, recipe: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    for choice in (ON, OFF):
        assert vit("train", recipe, *EXACT, *more, choice, "--out", tmp_path / choice, "-q").code == 0
    assert losses(tmp_path / ON) == losses(tmp_path / OFF)
    assert same(final(tmp_path / ON), final(tmp_path / OFF))
    groups = [
        torch.load(tmp_path / choice / "checkpoints/last.pt", weights_only=True)["optimizer"]["param_groups"]
        for choice in (ON, OFF)
    ]
    assert groups[0] == groups[1], "a checkpoint does not tell how the steps were taken"


def test_any_other_rate_and_bf16_differ_by_rounding_alone(vit: Run, recipe: Path, tmp_path: Path) -> None:
    for precision, bound in (("fp32", 1e-4), ("bf16", 2e-2)):
        for choice in (ON, OFF):
            words = [f"train.precision={precision}", choice, "--out", tmp_path / f"{precision}{choice}", "-q"]
            assert vit("train", recipe, *words).code == 0
        one, two = (losses(tmp_path / f"{precision}{choice}") for choice in (ON, OFF))
        assert one == pytest.approx(two, abs=bound)


@pytest.mark.parametrize("last", [4, 8])
def test_a_run_with_a_graph_goes_on_to_the_same_end_to_the_bit(
    vit: Run, recipe: Path, tmp_path: Path, last: int
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert vit("train", recipe, ON, "save.keep=9", "--out", whole, "-q").code == 0
    shutil.copytree(whole, parted, symlinks=True)
    for checkpoint in (parted / "checkpoints").glob("step-*.pt"):
        if int(checkpoint.stem[5:]) > last:
            checkpoint.unlink()
    assert vit("resume", parted, "-q").code == 0
    assert same(final(whole), final(parted))


@pytest.mark.slow
def test_a_stop_is_heard_and_saved(vit: Run, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = vit("train", recipe, ON, "train.steps=1000000", "--out", run, "--time", "20s", "-q")
    assert stopped.code == 143
    assert json.loads((run / "status.json").read_text())["step"] > 5


def test_a_replay_leaves_everything_as_it_was_where_the_loss_is_not_finite(tmp_path: Path) -> None:
    recipe = load_recipe("smoke", [ON, "train.precision=fp32", "data.train.images=200"]).recipe
    run = wire(recipe, RunFolder(tmp_path), World(0, 1, torch.device("cuda", 0)), Silence())
    results = (run.take_step(run, batch, step, StopFlag()) for step, batch in enumerate(run.input.batches(0)))

    def state() -> list[torch.Tensor]:
        moments = [value for state in run.optimizer.state.values() for value in state.values()]
        return [value.detach().clone() for value in (*run.parameters, *moments)]

    for _ in range(6):
        assert next(results).flags.tolist() == [0, 0, 0]
    weight, before = run.parameters[0], state()
    with torch.no_grad():
        weight.fill_(torch.nan)
    assert next(results).flags.tolist() == [1, 0, 0]
    with torch.no_grad():
        weight.copy_(before[0])
    assert all(torch.equal(now, then) for now, then in zip(state(), before, strict=True))
    assert next(results).flags.tolist() == [0, 0, 0]
    assert not all(torch.equal(now, then) for now, then in zip(state(), before, strict=True))

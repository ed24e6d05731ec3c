"""A run in phases, stopped wherever, goes on to the same end, to the bit; and says what it saves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import TINY, Run, is_refused
from tests.integration.test_resume import final, rows, same

PHASES = (
    "train.phases=[{until: 3 steps, res: 16, drop_tokens: 0.5}, {until: 5 steps, res: [24, 16]},"
    " {until: 8 steps, drop_tokens: 0.25}]"
)
DIGITS = ["data.train={name: digits}", "data.val=null"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([], id="cached", marks=pytest.mark.long),
        pytest.param(
            ["data.cache=none", "data.augment_on=device", "model.positions=sincos2d"],
            id="device",
            marks=pytest.mark.long,
        ),
        pytest.param([*DIGITS, "model.positions=rope"], id="resident"),
        pytest.param(["data.cache=none", "data.workers=2"], id="workers", marks=pytest.mark.long),
    ],
)
def test_a_run_stopped_in_every_phase_and_at_every_border_ends_equal_to_the_bit(
    vit: Run, recipe: Path, tmp_path: Path, changes: list[str]
) -> None:
    words = [recipe, PHASES, *changes, "-q"]
    assert vit("train", *words, "--out", tmp_path / "whole").code == 0
    codes = [vit("train", *words, "--out", tmp_path / "parted", "--time", "0s").code]
    while codes[-1] == 143:
        codes.append(vit("resume", tmp_path / "parted", "--time", "0s", "-q").code)
    assert codes == [143] * 10 + [0]
    assert same(final(tmp_path / "whole"), final(tmp_path / "parted"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parted")


@pytest.mark.slow
def test_two_processes_go_through_the_phases_as_one(vit: Run, vit_process: Run, photos: Path, tmp_path: Path) -> None:
    """Without dropout and without patches left out, which each process draws for its own images."""
    recipe = tmp_path / "even.yaml"
    text = TINY.format(root=photos, workers=0, steps=8)
    recipe.write_text(text.replace("drop_path: 0.1, dropout: 0.1", "drop_path: 0.0, dropout: 0.0"))
    phases = "train.phases=[{until: 3 steps, res: 16}, {until: 5 steps, res: 24}]"
    assert vit("train", recipe, phases, "--out", tmp_path / "one", "-q").code == 0
    assert vit("train", recipe, phases, "--out", tmp_path / "two", "--time", "0s", "-q").code == 143
    assert vit_process("resume", "two", "--devices", 2, "-q").code == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "steps.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_the_course_is_planned_printed_and_its_cost_told(vit: Run, recipe: Path, tmp_path: Path) -> None:
    result = vit("train", recipe, PHASES, "-n", "--json")
    assert result.code == 0, result
    told = json.loads(result.out)
    assert [(phase["until_step"], phase["res"], phase["drop_tokens"]) for phase in told["plan"]["phases"]] == [
        (3, 16, 0.5),
        (5, [24, 16], 0.0),
        (8, 32, 0.25),
        (10, 32, 0.0),
    ]
    assert told["train_flops"] < told["train_flops_without_phases"]
    assert told["train_flops_without_phases"] == 8 * 10 * told["training_flops_per_image"]
    assert "24x16 pixels to step 5" in result.err


def test_what_phases_made_is_a_model_of_its_own_resolution_that_is_tuned_further(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, PHASES, "--out", run, "-q").code == 0
    assert json.loads(vit("eval", run, "--json").out)["res"] == [32, 32]
    positions = torch.load(run / "checkpoints/last.pt", weights_only=True)["model"]["positions.table"]
    assert positions.shape == (1, 16, 32)
    shorter = ["train.epochs=1", "train.batch_size=8", "schedule.warmup=0", "train.phases=[{until: 50%, res: 16}]"]
    assert vit("finetune", run, *shorter, "-q").code == 0


def test_other_phases_are_another_run(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, PHASES, "--out", tmp_path / "run", "--time", "0s", "-q").code == 143
    assert is_refused(vit("resume", tmp_path / "run", "train.phases.0.drop_tokens=0"), 4, "train.phases.0.drop_tokens")


def test_a_phase_that_the_model_can_not_do_with_is_told_at_its_line(vit: Run, recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace(", ema:", ", phases: [{until: 50%, res: 20}], ema:")
    recipe.write_text(text)
    line = 1 + text.splitlines().index(next(line for line in text.splitlines() if "phases" in line))
    told = f"tiny.yaml:{line}  train.phases.0.res  20 is not a multiple of patch 8; the nearest are 16 and 24"
    assert is_refused(vit("train", recipe), 2, told)

"""A few steps tell what a run will take, also where its first ones are cheaper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.train.folder import RunFolder
from vit_cli.train.progress import Silence
from vit_cli.train.trial import Trial, estimate_seconds, make_trial
from vit_cli.train.wire import Run, wire

DIGITS = ["data.train={name: digits}", "data.val=null", "data.workers=0", "model.res=32", "model.patch=8"]
PHASES = "train.phases=[{until: 50%, drop_tokens: 0.5}]"


def start(folder: Path, *changes: str) -> Run:
    recipe = load_recipe("smoke", [*DIGITS, *changes]).recipe
    return wire(recipe, RunFolder(folder), World(0, 1, torch.device("cpu")), Silence())


def test_memory_is_that_of_the_dearest_phase(tmp_path: Path) -> None:
    plain, phased = (make_trial(start(tmp_path, *changes), seconds=0.0) for changes in ((), (PHASES,)))
    assert phased.activation_bytes == pytest.approx(plain.activation_bytes, rel=0.01)


def test_the_length_of_a_run_counts_what_its_phases_spare(tmp_path: Path) -> None:
    trial = Trial(loss=0.0, step_seconds=1.0, making_seconds=0.0, activation_bytes=0)
    plain, phased = (estimate_seconds(start(tmp_path, *changes), trial) for changes in ((), (PHASES,)))
    assert 0.7 * plain < phased < 0.9 * plain  # half of the steps see half of the patches
    assert plain == pytest.approx(estimate_seconds(start(tmp_path), trial))

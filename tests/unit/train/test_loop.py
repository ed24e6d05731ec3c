"""What counts as better, and for how long nothing did."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from vit_cli.dist.world import World
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.recipe.load import load_recipe
from vit_cli.train.folder import RunFolder
from vit_cli.train.loop import is_out_of_patience, note_score
from vit_cli.train.progress import Silence
from vit_cli.train.state import TrainState
from vit_cli.train.wire import Run, wire


def start(folder: Path, early_stop: str) -> Run:
    digits = ["task=regression", "data.train={name: digits}", "data.val=null", "loss={name: mse}"]
    recipe = load_recipe("smoke", [*digits, f"train.early_stop={early_stop}"]).recipe
    return wire(recipe, RunFolder(folder), World(0, 1, torch.device("cpu")), Silence())


def test_patience_begins_anew_with_every_gain_also_after_a_score_that_is_no_number(tmp_path: Path) -> None:
    run, state = start(tmp_path, "{patience: 2, min_delta: 0.1}"), TrainState()
    found = []
    for r2 in (math.nan, -3.0, 0.5, 0.55, 0.7, math.nan, 0.6):
        is_best = note_score(run, state, Evaluation({"r2": r2, "loss": 1.0}, None, None, 0.0))
        found.append((is_best, state.waited, is_out_of_patience(run, state)))
    assert found == [
        (False, 1, False),
        (True, 0, False),
        (True, 0, False),
        (True, 1, False),
        (True, 0, False),
        (False, 1, False),
        (False, 2, True),
    ]

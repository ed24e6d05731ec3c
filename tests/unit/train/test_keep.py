"""What is not finite is never saved, whatever part of a model it is in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit_cli.dist.world import World
from vit_cli.errors import TrainingError
from vit_cli.recipe.load import load_recipe
from vit_cli.train.folder import RunFolder
from vit_cli.train.keep import check_finite
from vit_cli.train.progress import Silence
from vit_cli.train.state import TrainState
from vit_cli.train.wire import wire

pytestmark = pytest.mark.slow

RESNET = "model={name: resnet, size: 18, blocks: [1], width: 4, res: 8}"


@pytest.mark.parametrize("part", ["fc.bias", "bn1.running_var", "an average"])
def test_what_is_not_finite_is_not_saved(tmp_path: Path, part: str) -> None:
    recipe = load_recipe("smoke", [RESNET, "augment=[]", "train.ema={decay: 0.9}"]).recipe
    run = wire(recipe, RunFolder(tmp_path), World(0, 1, torch.device("cpu")), Silence())
    check_finite(run, TrainState())
    tensors = run.model.state_dict() | {"an average": run.ema.state()["fc.bias"]}
    tensors[part][0] = torch.inf
    with pytest.raises(TrainingError, match="not finite after step 3"):
        check_finite(run, TrainState(step=3))

"""What a run says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.train.describe import describe_doubts, describe_reduction
from vit_cli.train.folder import RunFolder
from vit_cli.train.progress import Silence
from vit_cli.train.wire import wire


@pytest.mark.parametrize(("change", "told"), [("31", True), ("32", False), ("null", False)])
def test_pictures_kept_below_the_resolution_are_told(change: str, told: bool) -> None:
    recipe = load_recipe("smoke", ["model.res=[32, 48]", f"data.cache_size={change}"]).recipe
    assert describe_reduction(recipe) == (
        ["data.cache_size is 31, below the resolution of 32: larger pictures will be blurred"] if told else []
    )


@pytest.mark.parametrize("can", [True, False])
def test_a_precision_that_the_device_imitates_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: can)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    recipe = load_recipe("smoke", ["train.precision=bf16"]).recipe
    run = wire(recipe, RunFolder(tmp_path), World(0, 1, torch.device("cpu")), Silence())
    assert [text.partition(",")[0] for text in describe_doubts(run)] == (
        [] if can else ["this device only imitates bf16"]
    )

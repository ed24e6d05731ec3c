"""What a run says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.plain import at_res
from vit_cli.train.describe import count_train_flops, describe_doubts, describe_reduction, describe_run
from vit_cli.train.folder import RunFolder
from vit_cli.train.progress import Silence
from vit_cli.train.wire import Run, wire


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


def start(folder: Path, *changes: str) -> Run:
    digits = ["data.train={name: digits}", "data.val=null", "model.res=32", "model.patch=8", *changes]
    return wire(load_recipe("smoke", digits).recipe, RunFolder(folder), World(0, 1, torch.device("cpu")), Silence())


@pytest.mark.parametrize("model", ["model.depth=2", "model={name: resnet, size: 18, res: 32, small_stem: true}"])
def test_a_run_in_phases_costs_the_sum_of_its_parts(tmp_path: Path, model: str) -> None:
    run = start(tmp_path, model, "train.phases=[{until: 5 steps, res: 16}]")
    small = at_res(run.recipe.model, 16).build(10)
    cost, whole = small.training_flops(), run.model.training_flops()
    assert count_train_flops(run) == (16 * (5 * cost + 15 * whole), 16 * 20 * whole)


def test_the_header_tells_the_course_and_what_it_saves(tmp_path: Path) -> None:
    run = start(tmp_path, "train.phases=[{until: 25%, res: 16}, {until: 10 steps, drop_tokens: 0.5}]")
    cost, plain = count_train_flops(run)
    assert describe_run(run)["phases"] == (
        "16x16 pixels to step 5, 32x32 pixels without 50 % of the patches to step 10, 32x32 pixels to step 20; "
        f"{cost:.3g} FLOPs in training, without phases {plain:.3g}"
    )
    assert cost < plain
    assert "phases" not in describe_run(start(tmp_path))


def test_the_header_tells_what_is_compiled_and_worked_out_again(tmp_path: Path) -> None:
    plain = describe_run(start(tmp_path, "train.precision=fp32"))["device"]
    assert plain.endswith(", fp32")
    told = describe_run(start(tmp_path, "train.precision=fp32", "train.recompute=mlp", "train.compile=blocks"))
    assert told["device"] == f"{plain}, recompute mlp, compile blocks"

"""What a graph replays is a step: on a CPU its operations one by one, and where there can be no graph the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit_cli.device import send
from vit_cli.dist.world import World
from vit_cli.errors import RecipeError
from vit_cli.optim.groups import set_lr
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.plan import make_plan
from vit_cli.train.folder import RunFolder
from vit_cli.train.graph import choose_step, update_all
from vit_cli.train.progress import Silence
from vit_cli.train.step import draw, take_step
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run, wire

CPU = torch.device("cpu")
STEPS = 5
VIT = "model={name: vit, width: 32, depth: 2, heads: 2, patch: 8, res: 32, dropout: 0.1, attention_dropout: 0.1, drop_path: 0.3}"
RESNET = "model={name: resnet, blocks: [1], width: 8, res: 32, small_stem: true}"
CHANGES = [
    "data.train.size=32", "data.train.images=40", "train.steps=20", "train.batch_size=4", "train.ema={decay: 0.9}",
    "mix={mixup: 0.4, cutmix: 1.0}", "optim.lr=0.0078125", "optim.layer_decay=0.5", "schedule={name: constant}",
    "loss.l1=1e-4", "train.precision=fp32",
]  # fmt: skip
"""The learning rates are powers of two, which float32 holds exactly."""


def start(folder: Path, *changes: str) -> Run:
    recipe = load_recipe("smoke", [*CHANGES, *changes]).recipe
    return wire(recipe, RunFolder(folder), World(0, 1, CPU), Silence())


def state_of(run: Run) -> list[torch.Tensor]:
    moments = [value for state in run.optimizer.state.values() for value in state.values()]
    return [*run.parameters, *run.ema.state().values(), *moments]


@pytest.mark.parametrize("model", [VIT, RESNET], ids=["vit", "resnet"])
def test_an_update_from_tensors_alone_is_a_step_to_the_bit(tmp_path: Path, model: str) -> None:
    expected, run = start(tmp_path / "one", model), start(tmp_path / "two", model)
    stop, asked = StopFlag(), StopFlag(seconds=0)
    for step, batch in zip(range(STEPS), run.input.batches(0), strict=False):
        flag = asked if step == STEPS - 1 else stop
        found = take_step(expected, batch, step, flag)
        set_lr(run.optimizer, run.plan.lr_at(step))
        images, targets = draw(run, run.input.finish(batch), step, 0)
        rates = [group["lr"] for group in run.optimizer.param_groups]
        numbers = send((flag.is_set, False, run.ema.weight_at(step), *rates), CPU)
        again = update_all(run, images, targets, numbers, is_captured=False)
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state_of(expected), state_of(run), strict=True))
    assert again.flags.tolist() == [0, 1, 0]
    rates = [group["lr"] for group in run.optimizer.param_groups]
    assert rates == [group["lr"] for group in expected.optimizer.param_groups], (
        "plain numbers, as a checkpoint has them"
    )


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_a_step_is_no_graph_unless_that_is_asked_for(choice: str) -> None:
    recipe = load_recipe("smoke", [f"train.graph={choice}"]).recipe
    assert choose_step(recipe, make_plan(recipe, 80), World(0, 1, torch.device("cuda"))) is take_step


@pytest.mark.parametrize(
    ("changes", "world", "reason"),
    [
        ([], World(0, 1, CPU), "needs a CUDA device, and this is cpu"),
        ([], World(1, 2, torch.device("cuda")), "is for one process, and there are 2"),
        (["train.micro_batch=4"], World(0, 1, torch.device("cuda")), "there are 4 micro batches"),
    ],
)
def test_where_there_can_be_no_graph_the_reason_is_told(changes: list[str], world: World, reason: str) -> None:
    recipe = load_recipe("smoke", ["train.graph=on", *changes]).recipe
    with pytest.raises(RecipeError, match=reason):
        choose_step(recipe, make_plan(recipe, 80, world.size), world)

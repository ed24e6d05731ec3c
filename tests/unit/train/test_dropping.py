"""Every step sees what its phase shows: images of its size, and as many patches as stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from vit_cli.dist.world import World
from vit_cli.models.drop_tokens import AllTokens
from vit_cli.models.vit import Vit
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.plan import make_plan
from vit_cli.section import as_grid
from vit_cli.train.dropping import NoDropping, build_dropping
from vit_cli.train.folder import RunFolder
from vit_cli.train.progress import Silence
from vit_cli.train.step import take_step
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run, wire

pytestmark = pytest.mark.slow

DIGITS = ("data.train={name: digits}", "data.val=null", "data.workers=0", "eval.every=6 steps")
MODEL = "model={name: vit, width: 32, depth: 2, heads: 2, patch: 4, res: 16, pool: cls, dropout: 0.1, drop_path: 0.1}"
PHASES = (
    "train.phases=[{until: 1 step, res: 8}, {until: 3 steps, res: [8, 12], drop_tokens: 0.5},"
    "{until: 4 steps, drop_tokens: 0.25}]"
)
WAYS = [["data.cache=none"], ["data.cache=ram"], ["data.cache=ram", "data.augment_on=device"], ["data.cache=device"]]


def start(folder: Path, *changes: str) -> Run:
    train = "train={steps: 6, batch_size: 16, ema: {decay: 0.9}}"
    recipe = load_recipe("smoke", [*DIGITS, MODEL, train, "schedule.warmup=0", "mix.mixup=0.4", *changes]).recipe
    return wire(recipe, RunFolder(folder), World(0, 1, torch.device("cpu")), Silence())


def learn(run: Run, first: int = 0) -> dict[str, Tensor]:
    for step, batch in enumerate(run.input.batches(first), start=first):
        take_step(run, batch, step, StopFlag())
    return run.model.state_dict()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_steps_see_images_and_tokens_of_their_phase(tmp_path: Path, way: list[str]) -> None:
    run, sizes, tokens = start(tmp_path, PHASES, *way), [], []
    run.model.embedding.register_forward_pre_hook(lambda _, images: sizes.append(tuple(images[0].shape[2:])))
    run.model.blocks[0].register_forward_pre_hook(lambda _, x: tokens.append(x[0].shape[1]))
    learn(run)
    assert sizes == [(8, 8), (8, 12), (8, 12), (16, 16), (16, 16), (16, 16)]
    assert tokens == [1 + 4, 1 + 3, 1 + 3, 1 + 12, 1 + 16, 1 + 16]


def test_evaluation_in_the_midst_of_a_phase_sees_all(tmp_path: Path) -> None:
    run, tokens = start(tmp_path, PHASES), []
    run.dropping.enter(2)
    run.model.blocks[0].register_forward_pre_hook(lambda _, x: tokens.append(x[0].shape[1]))
    run.evaluate(StopFlag())
    assert set(tokens) == {1 + 16}


def test_phases_that_show_all_change_no_bit(tmp_path: Path) -> None:
    weights = learn(start(tmp_path))
    shown = learn(start(tmp_path, "train.phases=[{until: 2 steps, res: 16}, {until: 4 steps, drop_tokens: 0.0}]"))
    dropped = learn(start(tmp_path, "train.phases=[{until: 4 steps, drop_tokens: 0.1}]"))
    assert all(torch.equal(weights[name], shown[name]) for name in weights)
    assert not torch.equal(weights["head.weight"], dropped["head.weight"])


def test_micro_batches_leave_out_patches_of_their_own(tmp_path: Path) -> None:
    run, kept = start(tmp_path, "train.phases=[{until: 1 step, drop_tokens: 0.5}]", "train.micro_batch=8"), []
    run.dropping.enter(0)
    run.model.drop_tokens.register_forward_hook(lambda _, x, y: kept.append(y[0].detach()))
    take_step(run, next(iter(run.input.batches(0))), 0, StopFlag())
    assert [len(tokens) for tokens in kept] == [8, 8]
    assert not torch.equal(*kept)


def test_nothing_is_set_up_where_nothing_is_left_out(tmp_path: Path) -> None:
    run = start(tmp_path, "train.phases=[{until: 2 steps, res: 8}]")
    assert isinstance(run.dropping, NoDropping)
    assert isinstance(run.model.drop_tokens, AllTokens)
    assert list(run.model.grids) == [(16, 16), (8, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_a_change_of_phase_compiles_the_model_once(positions: str) -> None:
    phases = (
        "train.phases=[{until: 2 steps, res: 8}, {until: 4 steps, res: 8, drop_tokens: 0.5}, {until: 6 steps, res: 12}]"
    )
    recipe = load_recipe("smoke", ["train.steps=8", "model.res=16", "model.patch=4", phases]).recipe
    plan = make_plan(recipe, images=100)
    model = Vit(width=16, depth=1, heads=1, patch=4, res=16, positions=positions).build(3)
    for phase in plan.phases:
        model.allow(as_grid(phase.res))
    dropping = build_dropping(plan, model)
    counter = CompileCounter()
    torch.compiler.reset()
    compiled, counts = torch.compile(model, backend=counter, dynamic=False, fullgraph=True), []
    for step in (*range(8), *range(8)):
        dropping.enter(step)
        compiled(torch.zeros(2, 3, *as_grid(plan.phase_at(step).res))).sum().backward()
        counts.append(counter.frame_count)
    torch.compiler.reset()
    assert counts == [1, 1, 2, 2, 3, 3, 4, 4] + [4] * 8

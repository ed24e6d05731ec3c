"""The micro batch that fits: the largest of the sizes in question, found without a trace, and never at the machine's cost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vit_cli.dist.world import World
from vit_cli.models.classifier import Classifier
from vit_cli.optim.losses import SoftmaxLoss
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.plan import Plan, make_plan
from vit_cli.recipe.schema import Recipe
from vit_cli.train import fit
from vit_cli.train.fit import Trial, choose, find_micro_batch, halve, try_all, undisturbed
from vit_cli.train.objective import FromLabels

CPU = World(0, 1, torch.device("cpu"))
RESNET = "model={name: resnet, blocks: [1], width: 8, res: 32, small_stem: true}"
VIT = "model={name: vit, width: 16, depth: 2, heads: 2, patch: 8, res: 32, drop_path: 0.1}"


class Small(nn.Module):
    """A device with memory for `most` images, which runs out of it in the backward pass."""

    def __init__(self, model: nn.Module, most: int) -> None:
        super().__init__()
        self.model, self.most, self.sizes = model, most, []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        logits = self.model(images)
        logits.register_hook(self.check)
        return logits

    def check(self, gradient: Tensor) -> Tensor:
        if len(gradient) > self.most:
            raise torch.OutOfMemoryError("no memory")
        return gradient


@dataclass(frozen=True)
class Case:
    recipe: Recipe
    plan: Plan
    model: Classifier

    def trial(self, student: nn.Module | None = None, world: World = CPU) -> Trial:
        objective = FromLabels(student or self.model, SoftmaxLoss(), nullcontext)
        return Trial(self.recipe, self.model, objective, world, outputs=5)


def case(*changes: str) -> Case:
    recipe = load_recipe("smoke", [VIT, "train.micro_batch=auto", "train.batch_size=16", *changes]).recipe
    torch.manual_seed(0)
    return Case(recipe, make_plan(recipe, 64), recipe.model.build(5))


@given(st.integers(1, 200), st.integers(1, 9))
def test_sizes_fall_by_half_or_a_little_more_in_whole_groups(groups: int, group: int) -> None:
    sizes = halve(groups * group, group)
    assert sizes[0] == groups * group
    assert sizes[-1] == group
    assert all(size % group == 0 for size in sizes)
    assert all(large / 2 - group < small <= large / 2 for large, small in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    ("most", "found", "tried"),
    [(16, 16, [16]), (9, 8, [16, 8, 8]), (3, 2, [16, 8, 4, 2, 2]), (0, 0, [16, 8, 4, 2, 1])],
)
def test_the_first_size_is_taken_that_goes_forwards_and_backwards(most: int, found: int, tried: Sequence[int]) -> None:
    one = case()
    small = Small(one.model, most)
    trial = one.trial(small)
    assert try_all(halve(16, 1), lambda size: trial.attempt(size, one.plan, margin=1000)) == found
    assert small.sizes == tried, "twice where a second micro batch meets the gradients of the first"


def test_an_error_that_is_not_about_memory_is_not_swallowed() -> None:
    def fail(size: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        try_all([4, 2], fail)


@pytest.mark.parametrize("model", [VIT, RESNET])
def test_a_trial_leaves_no_trace(model: str) -> None:
    one = case(model)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    with undisturbed(one.model):
        one.trial().attempt(16, one.plan, margin=1000)
        assert one.trial().growth(4) > 0
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    assert all(parameter.grad is None for parameter in one.model.parameters())


@pytest.mark.parametrize("model", [VIT, RESNET])
def test_each_image_takes_as_much_as_the_others(model: str) -> None:
    trial = case(model).trial()
    assert trial.growth(2) == trial.growth(6)
    assert trial.count_kept(8) - trial.count_kept(4) == pytest.approx(4 * trial.growth(2))


def test_a_dense_layer_keeps_what_comes_in_and_the_softmax_what_goes_out() -> None:
    one = case()
    trial = one.trial(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)))
    images, targets, log_shares = 2 * 3 * 32 * 32, 5, 5  # two copies of the images: as normalised, as mixed
    assert trial.growth(4) == 4 * (images + targets + log_shares)


def test_where_there_is_no_room_the_smallest_size_is_chosen() -> None:
    assert choose([8, 4, 2], growth=10.0, room=45.0) == 4
    assert choose([8, 4, 2], growth=10.0, room=-5.0) == 2


@pytest.mark.parametrize(("images", "found"), [(100, 16), (12, 8), (0, 2)])
def test_on_a_cpu_half_of_the_free_memory_decides(images: int, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = case("mix.mixup=0.2")
    trial = one.trial()
    weights = sum(weight.nbytes for weight in one.model.parameters())
    kept = (fit.MOMENTS + 1) * weights + 2 * 16 * 3 * 32 * 32
    monkeypatch.setattr(fit, "free_memory", lambda: 2 * (kept + images * trial.growth(2)))
    assert find_micro_batch(one.plan, trial, None) == found


def test_a_number_is_not_looked_for_where_none_is_asked_for() -> None:
    one = case("train.micro_batch=4")
    assert find_micro_batch(one.plan, one.trial(), None) is None


@pytest.mark.parametrize(("before", "found"), [("auto", 4), (4, 16), (None, 16)])
def test_a_run_that_goes_on_keeps_what_it_found_and_nothing_else(before: Any, found: int) -> None:
    one = case()
    about = {"recipe": {"train": {"micro_batch": before}}, "micro_batch": 4}
    assert find_micro_batch(one.plan, one.trial(), about) == found


def test_the_plan_takes_the_number_where_the_recipe_says_auto() -> None:
    auto, fixed = case().recipe, case("train.micro_batch=2").recipe
    assert [make_plan(auto, 64, fits=fits).micro_batch for fits in (None, 4, 99)] == [16, 4, 16]
    assert make_plan(auto, 64, fits=4).micro_batches == 4
    assert make_plan(fixed, 64, fits=4).micro_batch == 2

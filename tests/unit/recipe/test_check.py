"""Cross-checks of a valid recipe."""

from __future__ import annotations

import pytest

from vit_cli.errors import RecipeError
from vit_cli.recipe.check import check
from vit_cli.recipe.load import load_recipe


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["schedule.warmup=30 steps"], "schedule.warmup  30 steps is longer than the run, which is 20 steps"),
        (["schedule.cooldown=30 steps"], "schedule.cooldown  30 steps is longer"),
        (["mix.until=30 steps"], "mix.until  30 steps is longer"),
        (["train.phases=[{until: 30 steps}]"], "train.phases.0.until  30 steps is longer than the run, which is 20 steps"),
        (["train.phases=[{until: 0%}]"], "train.phases.0.until  a phase must end after it begins, at 0 steps"),
        (["train.phases=[{until: 50%}, {until: 40%}]"], "train.phases.1.until  a phase must end after it begins, at 50%"),
        (["eval.every=0 epochs"], "eval.every  must be above zero"),
        (["save.every=0%"], "save.every  must be above zero"),
        (["track.log_every=0 steps"], "track.log_every  must be above zero"),
        (["train.micro_batch=32"], "train.micro_batch  32 is more than the batch_size, 16"),
        (["train.graph=on", "optim={name: lamb}"], "train.graph  can be on with optim adamw only, not with lamb"),
        (["train.graph=on", "train.deterministic=true"], "train.graph  can't be on with deterministic"),
        (["train.graph=on", "train.recompute=mlp"], "train.graph  can't be on with recompute"),
        (["train.graph=on", "train.phases=[{until: 5 steps, drop_tokens: 0.5}]"], "train.graph  can't be on with phases"),
        (["train.graph=on", "train.shard=full"], "train.graph  can't be on with shard: full"),
        (["data.repeats=17"], "data.repeats  17 views of each image do not fit into a batch of 16"),
        (["train.batch_size=1", "mix.mixup=0.2"], "train.batch_size  mixup and cutmix need a batch of at least 2"),
        (["augment.2={name: resize}"], "augment.2.name  resize has no use after random_resized_crop"),
        (["model={name: resnet, size: 18, res: 32}", "train.recompute=mlp"], "train.recompute  mlp is for blocks of attention"),
        (["model={name: cct, size: cct_2, res: 32}", "train.precision=bf16_stream"], "train.precision  bf16_stream is not for"),
        (["model={name: convnext, res: 32}", "train.compile=blocks"], "train.compile  blocks is for blocks of attention"),
        (["train.shard=full", "optim={name: muon}"], "train.shard  full leaves a process only rows of a matrix"),
        (["augment=[{name: random_erasing}, {name: resize}]"], "augment.1.name  resize has no use after random_erasing"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(changes: list[str], problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("smoke", changes)
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "changes",
    [
        ["schedule.warmup=20 steps"],
        ["schedule.warmup=5 epochs"],
        ["train.early_stop={patience: 99}"],
        ["train.micro_batch=16"],
        ["train.micro_batch=auto"],
        ["train.graph=on"],
        ["train.graph=off", "optim={name: lamb}", "train.deterministic=true", "train.shard=full"],
        ["train.batch_size=1"],
        ["train.batch_size=1", "mix={mixup: 0.2, prob: 0.0}"],
        ["augment.2={name: random_crop}"],
        ["train.phases=[{until: 5 steps}, {until: 50%}, {until: 1 epoch}]"],
        ["mix.cutmix=1.0", "loss={name: binary_cross_entropy, label_smoothing: 0.1, class_weights: auto}"],
    ],
)
def test_what_makes_sense_is_not(changes: list[str]) -> None:
    assert check(load_recipe("smoke", changes).recipe) == []


def test_contradictions_come_all_at_once() -> None:
    with pytest.raises(RecipeError, match=r"smoke\.yaml has 2 problems"):
        load_recipe("smoke", ["schedule.warmup=30 steps", "data.repeats=17"])

"""Differences of recipes, and which of them a run may have when it goes on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_cli.recipe.difference import (
    ABSENT,
    MAY_CHANGE,
    PLACES,
    Difference,
    compare_recipes,
    differences,
    is_place,
    may_change,
)
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import is_for_finetuning, load_recipe
from vit_cli.recipe.schema import Recipe
from vit_cli.recipe.shape import walk
from vit_cli.recipe.yaml_reader import read_tree

SHIPPED = shipped_recipes()
COMPLETE = [name for name in SHIPPED if not is_for_finetuning(read_tree(SHIPPED[name]))]
FEW_PLAIN = st.recursive(
    st.none() | st.booleans() | st.text("ab", min_size=1, max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, min_size=1) | st.lists(inner, min_size=1, max_size=3),
)


def smoke(*changes: str) -> Recipe:
    return load_recipe("smoke", changes).recipe


def plain(recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint carries: the recipe after a journey through JSON."""
    content: dict[str, Any] = json.loads(json.dumps(recipe.model_dump(mode="json")))
    return content


def told(*changes: str) -> list[str]:
    return [str(difference) for difference in compare_recipes(plain(smoke()), smoke(*changes))]


@pytest.mark.parametrize("name", COMPLETE)
def test_a_recipe_does_not_differ_from_what_its_checkpoint_carries(name: str) -> None:
    recipe = load_recipe(name).recipe
    assert compare_recipes(plain(recipe), recipe) == []


@pytest.mark.case("R21")
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("optim.lr=0.1", "optim.lr: 0.001 -> 0.1"),
        ("seed=7", "seed: 0 -> 7"),
        ("model.width=128", "model.width: 64 -> 128"),
        ("train.clip_norm=null", "train.clip_norm: 1.0 -> null"),
        ("train.compile=blocks", "train.compile: auto -> blocks"),
        ("eval.every=5 steps", "eval.every: 10 steps -> 5 steps"),
        ("optim.betas=[0.9, 0.99]", "optim.betas: [0.9, 0.999] -> [0.9, 0.99]"),
        ("augment.0.scale=[0.3, 1.0]", "augment.0.scale: [0.5, 1.0] -> [0.3, 1.0]"),
        ("augment.1.prob=0.25", "augment.1.prob: 0.5 -> 0.25"),
        ("augment.2={name: flip}", "augment.2: absent -> {name: flip, prob: 0.5, direction: horizontal}"),
        ("train.ema={decay: 0.9}", "train.ema: null -> {decay: 0.9, warmup: true}"),
        ("data.train.images=90", "data.train.images: 80 -> 90"),
    ],
)
def test_each_change_is_told_with_its_key_and_both_values(change: str, line: str) -> None:
    assert told(change) == [line]


def test_another_choice_is_told_key_by_key() -> None:
    assert told("optim={name: sgd, lr: 0.001, weight_decay: 0.05}")[:2] == [
        "optim.name: adamw -> sgd",
        "optim.betas: [0.9, 0.999] -> absent",
    ]


def test_several_changes_come_in_the_order_of_the_recipe() -> None:
    assert [line.partition(":")[0] for line in told("track.log_every=1 steps", "optim.lr=1.0", "seed=3")] == [
        "seed",
        "optim.lr",
        "track.log_every",
    ]


def older(forget: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = plain(smoke())
    forget(content)
    return content


@pytest.mark.parametrize(
    "before",
    [
        older(lambda content: content["data"].pop("max_pixels")),
        older(lambda content: content["train"].pop("deterministic")),
        older(lambda content: content["augment"][1].pop("prob")),
        older(lambda content: (content.pop("mix"), content.pop("finetune"))),
    ],
)
def test_a_key_that_an_older_vit_did_not_know_counts_as_its_default(before: dict[str, Any]) -> None:
    assert compare_recipes(before, smoke()) == []


def test_a_key_that_an_older_vit_did_not_know_differs_from_another_value() -> None:
    before = older(lambda content: content["train"].pop("deterministic"))
    assert list(map(str, compare_recipes(before, smoke("train.deterministic=true")))) == [
        "train.deterministic: false -> true"
    ]


def test_a_recipe_that_this_vit_can_not_read_is_compared_as_it_stands() -> None:
    before = plain(smoke())
    before["optim"]["lookahead"] = 5
    del before["data"]["max_pixels"]
    assert list(map(str, compare_recipes(before, smoke()))) == [
        "optim.lookahead: 5 -> absent",
        "data.max_pixels: absent -> 64000000",
    ]
    assert Difference("optim.lookahead", 5, ABSENT) in compare_recipes(before, smoke())


@pytest.mark.case("R21")
def test_only_what_changes_no_number_may_change() -> None:
    free = [
        "data.workers=3", "data.cache=ram", "data.max_bad=0.5", "track.log_every=1 steps", "save.every=1 steps",
        "save.keep=9", "eval.batch_size=4", "train.micro_batch=4",
    ]  # fmt: skip
    found = compare_recipes(plain(smoke()), smoke(*free))
    assert len(found) == len(free)
    assert all(may_change(difference.key) for difference in found)
    bound = [
        "seed=1",
        "optim.lr=1.0",
        "eval.every=5 steps",
        "train.steps=30",
        "train.batch_size=8",
        "data.hold_out=0.5",
        "data.fold=1",
        "data.fraction=0.5",
        "data.cache_size=64",
        "data.augment_on=device",
        "data.decode=gpu",
    ]
    found = compare_recipes(plain(smoke()), smoke(*bound))
    assert len(found) == len(bound)
    assert not any(may_change(difference.key) or is_place(difference.key) for difference in found)


def test_a_folder_that_moved_is_a_place_and_another_kind_of_source_is_none(tmp_path: Path) -> None:
    before = plain(smoke("data.train={name: folder, root: /here}", "data.val={name: folder, root: /here, split: val}"))
    now = smoke(f"data.train={{name: folder, root: {tmp_path}}}", "data.val={name: folder, root: /here, split: test}")
    found = compare_recipes(before, now)
    assert list(map(str, found)) == [f"data.train.root: /here -> {tmp_path}", "data.val.split: val -> test"]
    assert all(is_place(difference.key) and not may_change(difference.key) for difference in found)
    other = compare_recipes(before, smoke("data.train={name: hf, path: /here}", "data.val={name: folder, root: /here}"))
    assert "data.train.name" in [difference.key for difference in other if not is_place(difference.key)]


def test_every_key_that_may_change_is_one_of_a_recipe() -> None:
    keys = {".".join((*path, name)) for path, section in walk(Recipe) for name in section.model_fields}
    assert [pattern for pattern in (*MAY_CHANGE, *PLACES) if not any(fnmatchcase(key, pattern) for key in keys)] == []


def test_what_is_shown_can_not_command_the_terminal() -> None:
    (difference,) = differences({"a\x1b": "\x1b[31m"}, {"a\x1b": ""})
    assert str(difference) == r'"a\u001b": "\u001b[31m" -> ""'


def put(content: Any, difference: Difference) -> None:
    """Make one difference undone in nested plain values."""
    *way, last = difference.key.replace("[", ".").replace("]", "").split(".")
    for key in way:
        content = content[key if isinstance(content, Mapping) else int(key)]
    if isinstance(content, list):
        content[int(last) :] = [] if difference.before is ABSENT else [difference.before]
    elif difference.before is ABSENT:
        del content[last]
    else:
        content[last] = difference.before


@given(st.dictionaries(st.sampled_from("xyz"), FEW_PLAIN), st.dictionaries(st.sampled_from("xyz"), FEW_PLAIN))
def test_undoing_the_differences_gives_what_was_before(before: dict[str, Any], now: dict[str, Any]) -> None:
    undone = copy.deepcopy(now)
    for difference in differences(before, now):
        put(undone, difference)
    assert undone == before
    assert differences(before, before) == []

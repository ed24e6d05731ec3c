"""The digest: equal for what did the same, different for every bit that matters."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vit_cli.checkpoint.file import MAX_DEPTH, check_plain, digest, read_checkpoint, write_checkpoint


def content() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "model": {
            "w": torch.randn(3, 4),
            "n": torch.tensor(5),
            "half": torch.randn(3).bfloat16(),
            "none": torch.zeros(0),
        },
        "ema": {"w": torch.zeros(3, 4)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "state": {"step": 3, "best": None, "finished": False},
        "about": {"class_names": ["cat", "dög"], "held": {"cat": 2**62}, "recipe": {"lr": 0.1}, "vit_version": "1"},
        "clock": {"seconds": 1.5},
    }


def changed(edit: Callable[[dict[str, Any]], object]) -> str:
    other = content()
    edit(other)
    return digest(other)


def flip(tensor: torch.Tensor) -> None:
    tensor.view(torch.uint8).flatten()[0] ^= 1


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: flip(c["model"]["w"]),
        lambda c: flip(c["model"]["half"]),
        lambda c: flip(c["ema"]["w"]),
        lambda c: c["model"]["n"].add_(1),
        lambda c: c["model"].update(w=c["model"]["w"].reshape(4, 3)),
        lambda c: c["model"].update(w=c["model"]["w"].view(torch.int32)),
        lambda c: c["model"].update(v=c["model"].pop("w")),
        lambda c: c["model"].update(none=torch.zeros(0, 2)),
        lambda c: c["ema"]["w"][0].mul_(-1.0),
        lambda c: c.pop("ema"),
        lambda c: c["optimizer"]["state"][0]["step"].add_(1),
        lambda c: c["optimizer"]["param_groups"][0].update(lr=0.1 + 2**-56),
        lambda c: c["state"].update(step=3.0),
        lambda c: c["state"].update(best=False),
        lambda c: c["state"].update(finished=0),
        lambda c: c["about"]["class_names"].reverse(),
        lambda c: c["about"].update(class_names=["cat, dög"]),
        lambda c: c["about"]["held"].update(cat=2**62 + 1),
        lambda c: c["about"].update(fingerprint="x"),
    ],
)
def test_whatever_was_learned_or_is_meant_changes_the_digest(edit: Callable[[dict[str, Any]], object]) -> None:
    assert changed(edit) != digest(content())


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c["clock"].update(seconds=99.0),
        lambda c: c["about"].update(vit_version="2", data={"root": "/elsewhere"}, recipe={}),
        lambda c: c.update(format_version=9),
        lambda c: c.update(model=dict(reversed(c["model"].items()))),
        lambda c: c.update(model=OrderedDict(c["model"])),
        lambda c: c["model"].update(w=torch.nn.Parameter(c["model"]["w"].t().contiguous().t())),
        lambda c: c["optimizer"]["param_groups"][0].update(betas=[0.9, 0.99]),
    ],
)
def test_time_paths_versions_and_the_way_it_lies_in_memory_do_not(edit: Callable[[dict[str, Any]], object]) -> None:
    assert changed(edit) == digest(content())


def test_a_digest_outlives_the_disk(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt", content())
    assert digest(read_checkpoint(tmp_path / "a.pt")) == digest(content())
    assert digest({}) != digest(content())
    assert len(digest({})) == 64


def test_not_a_number_and_the_sign_of_zero_count_by_their_bits() -> None:
    weights = torch.tensor([float("nan"), 0.0])
    same, other = copy.deepcopy(weights), torch.tensor([float("nan"), -0.0])
    assert digest({"model": {"w": weights}}) == digest({"model": {"w": same}}) != digest({"model": {"w": other}})
    assert digest({"state": {"x": float("nan")}}) == digest({"state": {"x": float("nan")}})
    assert digest({"state": {"x": 0.0}}) != digest({"state": {"x": -0.0}})


def test_values_are_counted_and_their_depth_is_bounded() -> None:
    assert check_plain({"a": [1, (2.0, None)], "b": torch.ones(3)}, "x") == 7
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    check_plain(deep, "x")
    with pytest.raises(ValueError, match="deep"):
        check_plain([deep], "x")
    with pytest.raises(TypeError, match="has a tuple for a key"):
        check_plain({(1, 2): 3}, "x")

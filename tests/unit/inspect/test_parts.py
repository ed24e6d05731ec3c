"""Where the parts of each model lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.unit.inspect.tiny import MODELS, build
from vit_cli.inspect.parts import Lattice, find_parts
from vit_cli.section import Grid

READS = {
    "map": "pooling",
    "cct": "pooling",
    "gap": "mean",
    "relative shared": "mean",
    "resnet": "mean",
    "convnext": "mean",
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_the_head_reads(kind: str) -> None:
    parts = find_parts(build(kind))
    assert parts.reads == READS.get(kind, "class token")
    assert (parts.pooling is not None) == (parts.reads == "pooling")


@pytest.mark.parametrize(
    ("kind", "grid", "step"), [("cls", (3, 5), 4), ("hybrid", (3, 5), 4), ("tnt", (3, 5), 4), ("cct", (6, 10), 2)]
)
def test_the_grid_covers_the_image(kind: str, grid: tuple[int, int], step: int) -> None:
    assert find_parts(build(kind)).lattice == Lattice(Grid(*grid), Grid(step, step))


def test_a_gap_model_that_has_a_class_token_is_read_by_what_it_pools() -> None:
    model = build("gap")
    model.cls, model.prefix = nn.Parameter(torch.zeros(1, 1, 24)), 1
    assert find_parts(model).reads == "mean"

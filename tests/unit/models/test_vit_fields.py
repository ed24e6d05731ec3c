"""What a recipe may say about a ViT, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from vit_cli.models.vit import Vit


@pytest.mark.parametrize(
    ("res", "message"), [(200, "nearest are 192 and 208"), ((224, 30), "30 is not .*16 and 32"), (9, "nearest is 16")]
)
def test_a_resolution_that_patches_do_not_divide_names_its_neighbours(res: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Vit(size="tiny", patch=16, res=res)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give a size, or all of width, depth and heads"),
        ({"width": 64, "depth": 2}, "give a size, or all of width, depth and heads"),
        ({"size": "tiny", "heads": 5}, "width 192 does not divide into 5 heads"),
        ({"width": 6, "depth": 1, "heads": 1, "positions": "sincos2d"}, "multiple of 4, not 6"),
        ({"size": "tiny", "dropout": 1.5}, "less than or equal to 1"),
        ({"size": "tiny", "norm_eps": 0.0}, "greater than 0"),
        ({"size": "tiny", "depht": 3}, "Extra inputs are not permitted"),
        ({"size": "tiny", "patch": "16"}, "valid integer"),
        ({"size": "tiny", "channels": 1}, "Input should be 3"),
        ({"width": 18, "depth": 1, "heads": 3, "positions": "rope"}, "multiple of 4; width 18 in 3 heads is 6 each"),
        ({"width": 5, "depth": 1, "heads": 1, "positions": "learned2d"}, "learned2d .*multiple of 2, not 5"),
        ({"size": "tiny", "positions": "none", "positions_at": "stem"}, "it can be left out"),
        ({"size": "tiny", "positions": "rope", "positions_at": "layers"}, "it can be left out"),
        ({"size": "tiny", "positions": "relative", "positions_at": "stem"}, "it can be layers or shared"),
        ({"size": "tiny", "positions": "sincos2d", "positions_at": "layers"}, "it can be stem or shared"),
        ({"size": "tiny", "cls_token": False}, "pool cls needs a class token"),
        ({"size": "tiny", "cls_token": False, "pool": "cls_gap"}, "pool cls_gap needs a class token"),
        ({"size": "tiny", "pool": "cls_gap", "pool_norm": "after"}, "pool_norm is before with it"),
        ({"size": "tiny", "attention": "window"}, "needs window, .* such as model.window=7"),
        ({"size": "tiny", "window": 7}, "window is for attention: window, and attention is full"),
        ({"size": "tiny", "full_every": 2}, "full_every is for attention: window"),
        ({"size": "tiny", "attention": "axial", "depth": 3}, "even depth, rows then columns, not 3"),
        ({"size": "tiny", "attention": "axial", "positions": "relative"}, "relative positions are for attention: full"),
        ({"size": "tiny", "registers": -1}, "greater than or equal to 0"),
        ({"size": "tiny", "layer_scale": 0.0}, "greater than 0"),
    ],
)
def test_a_model_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Vit(**fields)


def test_free_dimensions_override_those_of_the_size() -> None:
    assert Vit(size="so400m", depth=3).dimensions == (1152, 3, 4304, 16)
    assert Vit(size="so400m", width=64).dimensions == (64, 27, 256, 16)
    assert Vit(size="so400m", width=64, mlp=100).dimensions == (64, 27, 100, 16)
    assert Vit(width=64, depth=2, heads=4).dimensions == (64, 2, 256, 4)


@pytest.mark.parametrize(("width", "hidden"), [(192, 512), (384, 1024), (1536, 4096), (100, 272)])
def test_swiglu_is_as_wide_as_in_dinov2(width: int, hidden: int) -> None:
    assert hidden == (int(4 * width * 2 / 3) + 7) // 8 * 8
    assert Vit(width=width, depth=1, heads=1, ffn="swiglu").dimensions.mlp == hidden
    assert Vit(width=width, depth=1, heads=1, ffn="swiglu", mlp=77).dimensions.mlp == 77


def test_axes_double_the_blocks_of_a_size_but_not_a_depth() -> None:
    assert Vit(size="base", attention="axial").dimensions == (768, 24, 3072, 12)
    assert Vit(size="base", attention="axial", depth=8).dimensions.depth == 8


@pytest.mark.parametrize(
    ("fields", "grids"),
    [
        ({}, {"positions.table": (2, 4)}),
        ({"positions": "sincos2d"}, {}),
        ({"positions": "none"}, {}),
        ({"positions": "rope"}, {}),
        ({"positions_at": "shared"}, {"positions.table": (2, 4)}),
        ({"positions_at": "layers"}, {"positions.tables.0.table": (2, 4), "positions.tables.1.table": (2, 4)}),
        ({"positions": "learned2d"}, {"positions.rows": (2, 1), "positions.columns": (1, 4)}),
        (
            {"positions": "relative"},
            {"blocks.0.attention.bias.table": (3, 7), "blocks.1.attention.bias.table": (3, 7)},
        ),
        ({"positions": "relative", "positions_at": "shared"}, {"bias.table": (3, 7)}),
    ],
    ids=str,
)
def test_tables_over_a_grid_are_named_with_their_grids(
    fields: dict[str, Any], grids: dict[str, tuple[int, int]]
) -> None:
    section = Vit(width=8, depth=2, heads=2, res=(32, 64), **fields)
    assert section.position_grids() == grids
    state = section.build(3).state_dict()
    assert {name: state[name].shape[-2] for name in grids} == {
        name: rows * columns for name, (rows, columns) in grids.items()
    }


def test_a_class_token_is_the_same_normed_before_and_after_pooling() -> None:
    images = torch.randn(2, 3, 8, 8)
    before, after = (
        Vit(width=8, depth=1, heads=2, patch=4, res=8, pool_norm=when).build(0) for when in ("before", "after")
    )
    after.load_state_dict(before.state_dict())
    torch.testing.assert_close(after(images), before(images))

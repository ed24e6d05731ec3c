"""Rotations by place against timm's DINOv3, a closed form, and the laws of rotation."""

from __future__ import annotations

import math

import pytest
import torch
from timm.layers import RotaryEmbeddingDinoV3, apply_rot_embed_cat
from torch import Tensor

from vit_cli.models.rope import Rope, turn
from vit_cli.section import Grid

GRIDS = [Grid(4, 4), Grid(3, 5), Grid(1, 6)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("base", [100.0, 10_000.0])
@pytest.mark.parametrize("grid", GRIDS)
def test_rotations_are_those_of_timms_dinov3(grid: Grid, base: float) -> None:
    x = random(2, 3, 2 + grid.rows * grid.columns, 8)
    peer = RotaryEmbeddingDinoV3(8, temperature=base).get_embed(shape=list(grid))
    turned = apply_rot_embed_cat(x[:, :, 2:], peer, half=True)
    ours = turn(x, Rope(grid, 2, 8, base)(grid))
    torch.testing.assert_close(ours[:, :, 2:], turned, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[:, :, :2], x[:, :, :2])


@pytest.mark.parametrize("grid", GRIDS)
def test_rotations_are_those_of_the_formula(grid: Grid) -> None:
    x = random(1, 1, grid.rows * grid.columns, 12)
    ours = turn(x, Rope(grid, 0, 12)(grid))[0, 0]
    for place in range(grid.rows * grid.columns):
        sides = [(place // grid.columns + 0.5) / grid.rows, (place % grid.columns + 0.5) / grid.columns]
        for pair in range(6):  # of features `pair` and `pair + 6`: the first 3 turn with the row
            angle = 2 * math.pi * (2 * sides[pair // 3] - 1) / 100 ** (pair % 3 / 3)
            number = complex(x[0, 0, place, pair], x[0, 0, place, pair + 6]) * complex(math.cos(angle), math.sin(angle))
            turned = complex(ours[place, pair], ours[place, pair + 6])
            assert abs(turned - number) < 1e-5


def test_rotation_keeps_lengths_and_products_depend_on_offsets_only() -> None:
    turns, q, k = Rope(Grid(4, 4), 0, 8)(Grid(4, 4)), random(8), random(8, seed=1)
    queries, keys = turn(q.expand(1, 1, 16, 8), turns), turn(k.expand(1, 1, 16, 8), turns)
    torch.testing.assert_close(queries.norm(dim=-1), q.norm().expand(1, 1, 16))
    products = (queries @ keys.mT)[0, 0].reshape(4, 4, 4, 4)
    torch.testing.assert_close(products[0, 0, 1, 2], products[2, 1, 3, 3], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(products[0, 0, 1, 2], products[0, 0, 2, 1])


def test_rotations_are_no_weights_and_keep_the_dtype() -> None:
    rope = Rope(Grid(2, 3), 1, 4)
    assert rope.state_dict() == {}
    assert turn(random(1, 1, 7, 4).bfloat16(), rope(Grid(2, 3))).dtype == torch.bfloat16


@pytest.mark.parametrize("grid", GRIDS)
def test_rotations_for_another_grid_are_those_of_a_rope_made_for_it(grid: Grid) -> None:
    assert torch.equal(Rope(Grid(2, 7), 2, 8)(grid), Rope(grid, 2, 8)(grid))


def test_a_head_that_four_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        Rope(Grid(2, 2), 0, 6)

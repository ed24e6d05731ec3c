"""The bias for each offset against timm's, and its laws."""

from __future__ import annotations

import pytest
import torch
from timm.layers import RelPosBias
from torch import nn

from vit_cli.models.relative import RelativeBias, offsets
from vit_cli.section import Grid

GRIDS = [Grid(4, 4), Grid(3, 5), Grid(1, 6)]


def learned(grid: Grid, prefix: int, heads: int = 2) -> RelativeBias:
    torch.manual_seed(0)
    bias = RelativeBias(grid, prefix, heads)
    nn.init.normal_(bias.table)
    return bias


@pytest.mark.parametrize("grid", GRIDS)
def test_the_bias_is_that_of_timm(grid: Grid) -> None:
    ours, timms = learned(grid, 0), RelPosBias(grid, num_heads=2)
    timms.load_state_dict({"relative_position_bias_table": ours.table})
    assert ours.table.shape == (offsets(grid).rows * offsets(grid).columns, 2)
    assert torch.equal(ours(), timms.get_bias())


@pytest.mark.parametrize("prefix", [1, 3])
def test_prefix_tokens_neither_give_nor_get_a_bias(prefix: int) -> None:
    alone, ours = learned(Grid(3, 5), 0)(), learned(Grid(3, 5), prefix)()
    assert torch.equal(ours[:, :, prefix:, prefix:], alone)
    assert not ours[:, :, :prefix].any()
    assert not ours[:, :, :, :prefix].any()


def test_equal_offsets_have_equal_biases() -> None:
    bias = learned(Grid(3, 5), 0)()[0, 0].reshape(3, 5, 3, 5)
    assert bias[0, 0, 1, 2] == bias[1, 2, 2, 4]
    assert bias.unique().numel() == 5 * 9

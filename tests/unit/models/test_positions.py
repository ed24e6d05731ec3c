"""Positional embeddings against numpy, scipy, timm and torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import zoom
from timm.layers import resample_abs_pos_embed
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from vit_cli.models.positions import (
    FixedPositions,
    Learned2dPositions,
    LearnedPositions,
    Positions,
    Stretch,
    resize_positions,
    sincos2d,
    stretch_on_the_way,
)
from vit_cli.section import Grid

GOOGLE = Stretch(mode="bilinear", align_corners=True)


def table(grid: Grid, width: int = 6) -> Tensor:
    return torch.randn(1, grid.rows * grid.columns, width, generator=torch.Generator().manual_seed(0))


def sincos_of_numpy(rows: int, columns: int, width: int) -> np.ndarray[Any, Any]:
    """big_vision, models/vit.py: posemb_sincos_2d."""
    y, x = np.mgrid[:rows, :columns]
    omega = 1.0 / (10_000.0 ** (np.arange(width // 4) / (width // 4 - 1)))
    y, x = np.einsum("m,d->md", y.flatten(), omega), np.einsum("m,d->md", x.flatten(), omega)
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)[None]


@pytest.mark.parametrize("grid", [Grid(14, 14), Grid(3, 5), Grid(1, 4)])
@pytest.mark.parametrize("width", [8, 384])
def test_sincos2d_is_that_of_big_vision(grid: Grid, width: int) -> None:
    np.testing.assert_allclose(sincos2d(grid, width).numpy(), sincos_of_numpy(*grid, width), atol=1e-6)


def test_sincos2d_has_one_frequency_at_the_smallest_width() -> None:
    torch.testing.assert_close(sincos2d(Grid(1, 2), 4)[0, 1], torch.tensor([np.sin(1), np.cos(1), 0.0, 1.0]).float())


def test_sincos2d_needs_a_multiple_of_four() -> None:
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        sincos2d(Grid(2, 2), 6)


def test_equal_grids_give_the_very_same_table() -> None:
    given = table(Grid(3, 4))
    assert resize_positions(given, Grid(3, 4), Grid(3, 4), Stretch()) is given


@pytest.mark.parametrize(
    ("source", "target"), [((14, 14), (24, 24)), ((4, 6), (7, 5)), ((6, 6), (3, 4)), ((2, 2), (5, 9))]
)
def test_bilinear_with_align_corners_is_googles_zoom(source: tuple[int, int], target: tuple[int, int]) -> None:
    given = table(Grid(*source))
    factors = (target[0] / source[0], target[1] / source[1], 1)
    expected = zoom(given.reshape(*source, -1).numpy(), factors, order=1)
    assert expected.shape[:2] == target
    ours = resize_positions(given, Grid(*source), Grid(*target), GOOGLE)
    torch.testing.assert_close(ours, torch.from_numpy(expected).reshape(1, -1, given.shape[-1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("target", [(6, 6), (3, 7), (2, 2)])
def test_stretching_is_that_of_timm(target: tuple[int, int], mode: Any, antialias: bool) -> None:
    given = table(Grid(4, 4))
    expected = resample_abs_pos_embed(
        given, new_size=list(target), old_size=[4, 4], num_prefix_tokens=0, interpolation=mode, antialias=antialias
    )
    ours = resize_positions(given, Grid(4, 4), Grid(*target), Stretch(mode=mode, antialias=antialias))
    torch.testing.assert_close(ours, expected)


def test_bicubic_with_align_corners_is_that_of_torchvision() -> None:
    given = torch.cat([torch.zeros(1, 1, 6), table(Grid(4, 4))], dim=1)
    state = {"encoder.pos_embedding": given}
    expected = interpolate_embeddings(image_size=24, patch_size=4, model_state=dict(state))["encoder.pos_embedding"]
    ours = resize_positions(given[:, 1:], Grid(4, 4), Grid(6, 6), Stretch(align_corners=True))
    torch.testing.assert_close(ours, expected[:, 1:])


@pytest.mark.parametrize("stretch", [Stretch(), Stretch(antialias=True), GOOGLE, Stretch(mode="bilinear")], ids=str)
@pytest.mark.parametrize("target", [Grid(24, 24), Grid(3, 5), Grid(9, 1)])
def test_a_constant_stays_that_constant(target: Grid, stretch: Stretch) -> None:
    stretched = resize_positions(torch.full((1, 12, 3), 2.5), Grid(3, 4), target, stretch)
    torch.testing.assert_close(stretched, torch.full((1, target.rows * target.columns, 3), 2.5))


def test_rows_and_columns_are_not_mixed_up() -> None:
    by_row = torch.arange(3.0).repeat_interleave(4).reshape(1, 12, 1)
    stretched = resize_positions(by_row, Grid(3, 4), Grid(5, 2), GOOGLE).reshape(5, 2)
    torch.testing.assert_close(stretched, torch.linspace(0, 2, 5)[:, None].expand(5, 2))


def test_half_precision_is_kept_and_worked_out_in_float32() -> None:
    given = table(Grid(4, 4)).bfloat16()
    stretched = resize_positions(given, Grid(4, 4), Grid(6, 5), Stretch())
    assert stretched.dtype == torch.bfloat16
    exact = resize_positions(given.float(), Grid(4, 4), Grid(6, 5), Stretch())
    assert torch.equal(stretched, exact.bfloat16())


def test_a_table_that_does_not_hold_its_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="17 positions does not hold a 4x4 grid"):
        resize_positions(torch.zeros(1, 17, 2), Grid(4, 4), Grid(6, 6), Stretch())


def test_a_stretch_names_itself() -> None:
    assert str(Stretch()) == "bicubic"
    assert str(Stretch(mode="bilinear", antialias=True, align_corners=True)) == "bilinear + antialias + align corners"
    assert str(Stretch(offset=0.1)) == "bicubic + offset 0.1"


@pytest.mark.parametrize("offset", [0.1, 0.5])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("target", [(6, 9), (3, 5), (4, 8)])
def test_an_offset_stretches_as_dino_does(target: tuple[int, int], antialias: bool, offset: float) -> None:
    given = table(Grid(4, 4))
    rows, columns = target  # facebookresearch/dinov2, models/vision_transformer.py: interpolate_pos_encoding
    expected = torch.nn.functional.interpolate(
        given.reshape(1, 4, 4, -1).permute(0, 3, 1, 2),
        scale_factor=((rows + offset) / 4, (columns + offset) / 4),
        mode="bicubic",
        antialias=antialias,
    )
    assert expected.shape[-2:] == target
    ours = resize_positions(given, Grid(4, 4), Grid(*target), Stretch(antialias=antialias, offset=offset))
    torch.testing.assert_close(ours, expected.flatten(2).transpose(1, 2))
    plain = resize_positions(given, Grid(4, 4), Grid(*target), Stretch(antialias=antialias))
    assert target == (4, 4) or not torch.allclose(ours, plain)


def test_an_offset_with_align_corners_is_refused() -> None:
    with pytest.raises(ValidationError, match="leave one of them out"):
        Stretch(offset=0.1, align_corners=True)


@pytest.mark.parametrize("stretch", [Stretch(), Stretch(antialias=True), GOOGLE, Stretch(offset=0.1)], ids=str)
def test_one_row_of_places_is_stretched_like_a_line(stretch: Stretch) -> None:
    line = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    square = line.repeat_interleave(5, dim=1)  # 5 x 5, equal along its rows
    columns = resize_positions(square, Grid(5, 5), Grid(8, 5), stretch).reshape(8, 5, 3)
    for grids in ((Grid(5, 1), Grid(8, 1)), (Grid(1, 5), Grid(1, 8))):
        torch.testing.assert_close(resize_positions(line, *grids, stretch)[0], columns[:, 0])


def test_a_table_of_two_dimensions_is_stretched_like_one_of_three() -> None:
    given = table(Grid(3, 5))
    ours = resize_positions(given[0], Grid(3, 5), Grid(5, 7), Stretch())
    assert torch.equal(ours, resize_positions(given, Grid(3, 5), Grid(5, 7), Stretch())[0])


@pytest.mark.parametrize("others", [0, 2])
def test_learned_positions_are_added_to_patches_and_the_first_tokens_before_them(others: int) -> None:
    positions = LearnedPositions(Grid(2, 2), prefix=1, width=3)
    torch.nn.init.constant_(positions.table, 1.0)
    torch.nn.init.constant_(positions.prefix, 10.0)
    tokens = positions(torch.full((5, 1 + others + 4, 3), 100.0))
    assert tokens.shape == (5, 1 + others + 4, 3)
    assert tokens[:, 0].unique().tolist() == [110.0]
    assert tokens[:, 1 : 1 + others].unique().tolist() == [100.0] * bool(others)
    assert tokens[:, 1 + others :].unique().tolist() == [101.0]


def test_two_tables_give_each_patch_its_column_then_its_row() -> None:
    positions = Learned2dPositions(Grid(2, 3), prefix=1, width=4)
    with torch.no_grad():
        positions.rows.copy_(torch.tensor([[[1.0, 1.5], [2.0, 2.5]]]))
        positions.columns.copy_(torch.tensor([[[10.0, 10.5], [20.0, 20.5], [30.0, 30.5]]]))
        positions.prefix.fill_(7.0)
    tokens = positions(torch.zeros(2, 7, 4))
    assert tokens[1, 0].tolist() == [7.0] * 4
    expected = [[x, x + 0.5, y, y + 0.5] for y in (1.0, 2.0) for x in (10.0, 20.0, 30.0)]
    assert tokens[1, 1:].tolist() == expected


def test_two_tables_need_an_even_width() -> None:
    with pytest.raises(ValueError, match="even width, not 5"):
        Learned2dPositions(Grid(2, 3), prefix=0, width=5)


@pytest.mark.parametrize("positions", [FixedPositions(Grid(2, 3), 4), LearnedPositions(Grid(2, 3), 0, 4)])
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_tokens_without_a_position_are_left_alone(positions: Positions, prefix: int) -> None:
    tokens = positions(torch.full((2, prefix + 6, 4), 7.0))
    assert torch.equal(tokens[:, prefix:], (positions.table + 7).expand(2, -1, -1))
    assert tokens[:, :prefix].unique().tolist() == [7.0] * bool(prefix)


def test_fixed_positions_are_no_part_of_the_weights() -> None:
    assert FixedPositions(Grid(2, 3), 4).state_dict() == {}


@pytest.mark.parametrize(
    ("source", "target"), [((14, 14), (8, 8)), ((4, 6), (3, 5)), ((3, 2), (6, 7)), ((1, 4), (1, 2))]
)
def test_stretching_on_the_way_is_stretching_with_the_gradient_of_it(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    given = table(Grid(*source)).requires_grad_()
    weights = table(Grid(*target))
    ways = [
        stretch_on_the_way(given, Grid(*source), Grid(*target)),
        resize_positions(given, Grid(*source), Grid(*target), Stretch()),
    ]
    torch.testing.assert_close(*ways, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad((way * weights).sum(), given)[0] for way in ways]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_stretching_on_the_way_is_in_float32_whatever_is_around_it() -> None:
    given = table(Grid(4, 4))
    exact = stretch_on_the_way(given, Grid(4, 4), Grid(3, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stretch_on_the_way(given, Grid(4, 4), Grid(3, 3)), exact)
    assert stretch_on_the_way(given, Grid(4, 4), Grid(4, 4)) is given

"""Similarity of positions against numpy and the laws of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.inspect.tiny import MODELS, build, get, make_sight
from vit_cli.inspect.board import HALF
from vit_cli.inspect.positions import draw_positions, find_biases, find_tables, lack_positions, lay_tiles, neighbours
from vit_cli.inspect.similarity import compare_all
from vit_cli.inspect.tiles import Range
from vit_cli.section import Grid

GRID = Grid(3, 5)


def by_offset(alike: np.ndarray) -> dict[tuple[int, int], list[float]]:
    """All similarities of two places of a 3x5 grid, by how far apart they are."""
    found: dict[tuple[int, int], list[float]] = {}
    for i in range(15):
        for j in range(15):
            found.setdefault((j // 5 - i // 5, j % 5 - i % 5), []).append(float(alike[i, j]))
    return found


@pytest.mark.parametrize("kind", ["gap", "rope"])
def test_fixed_sines_and_rotations_make_places_alike_by_nothing_but_their_offset(kind: str) -> None:
    (table,) = find_tables(build(kind))
    assert table.grid == GRID
    groups = by_offset(compare_all(table.vectors).numpy())
    for offset, values in groups.items():
        assert max(values) - min(values) < 1e-6, offset
        assert values[0] == pytest.approx(groups[-offset[0], -offset[1]][0], abs=1e-6)
    assert groups[0, 0][0] == pytest.approx(1)
    assert all(value[0] < 1 for offset, value in groups.items() if offset != (0, 0))


def test_similarity_is_the_cosine_that_numpy_computes_without_the_class_token() -> None:
    model = build("cls")
    (table,) = find_tables(model)
    vectors = model.positions.table.detach().numpy()[0].astype(float)
    expected = vectors @ vectors.T / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    np.testing.assert_allclose(compare_all(table.vectors).numpy(), expected, rtol=1e-12)


def test_rotations_turn_equal_queries_and_keys_apart_as_much_as_the_mean_cosine_of_their_angles() -> None:
    model = build("rope")
    (table,) = find_tables(model)
    count = model.rope.head_width // 4
    rates = 2 * np.pi / 100.0 ** (np.arange(count) / count)
    down, right = (2 / 3, 2 / 5)  # places run from -1 to 1
    expected = (np.cos(rates * down).sum() + np.cos(rates * 2 * right).sum()) / (2 * count)
    assert float(compare_all(table.vectors)[0, 7]) == pytest.approx(expected, abs=1e-6)  # one down, two to the right


def test_a_model_with_positions_before_every_layer_shows_the_first_and_the_last() -> None:
    assert [table.name for table in find_tables(build("map"))] == ["before layer 1", "before layer 2"]
    assert [table.name for table in find_tables(build("tnt"))] == ["of patches", "of the words in a patch"]


@pytest.mark.parametrize(("kind", "place"), [("relative", "layer 2"), ("relative shared", "all layers")])
def test_a_bias_is_drawn_where_its_key_lies_from_the_query(kind: str, place: str) -> None:
    model = build(kind)
    maps = find_biases(model)[place].numpy()
    module = model.bias if kind == "relative shared" else model.blocks[1].attention.bias
    matrix = module()[0, :, module.prefix :, module.prefix :].detach().numpy()
    assert maps.shape == (3, 5, 9)
    for query in range(15):
        for key in range(15):
            row, column = 2 + key // 5 - query // 5, 4 + key % 5 - query % 5
            np.testing.assert_array_equal(maps[:, row, column], matrix[:, query, key])


def test_the_tile_of_a_place_shows_it_against_the_whole_grid() -> None:
    alike = np.arange(36.0).reshape(6, 6)
    sheet = lay_tiles(alike, Grid(2, 3), 1000, Range(0, 35))
    cell = 36
    assert sheet.shape == (2 * 2 * cell + 8, 3 * 3 * cell + 16, 3)
    second_row_last_tile = sheet[2 * cell + 8 :, 2 * (3 * cell + 8) :]
    assert (second_row_last_tile[-1, -1] == [253, 231, 36]).all()  # 35, the last of viridis
    assert (sheet[0, 0] == [68, 1, 84]).all()  # 0, its first


def test_of_a_large_grid_only_some_tiles_are_drawn() -> None:
    alike = np.eye(40 * 20)
    sheet = lay_tiles(alike, Grid(40, 20), HALF, Range(0, 1))
    assert sheet.shape[0] <= HALF
    assert sheet.shape[1] <= HALF


def test_neighbours_lie_side_by_side_or_one_above_the_other() -> None:
    alike = np.arange(36.0).reshape(6, 6)
    assert sorted(neighbours(alike, Grid(2, 3))) == [1, 3, 8, 10, 17, 22, 29]
    assert neighbours(np.array([[1.0]]), Grid(1, 1)) == [1.0]


def test_which_models_have_nothing_to_show() -> None:
    without = [kind for kind in MODELS if lack_positions(build(kind))]
    assert without == ["axial", "resnet", "convnext"]


@pytest.mark.parametrize("kind", ["cls", "map", "relative", "rope", "tnt", "cct", "cct cls"])
def test_every_kind_of_positions_is_drawn(tmp_path: Path, kind: str) -> None:
    panel = draw_positions(make_sight(get(tmp_path, kind), count=1, width=HALF))
    assert panel.board.images
    assert panel.summary
    assert torch.isfinite(
        torch.tensor([limit for table in panel.numbers.get("tables", []) for limit in (table["all"],)])
    ).all()

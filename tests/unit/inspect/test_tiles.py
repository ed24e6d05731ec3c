"""Small maps as pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vit_cli.inspect.board import HALF, SINGLE
from vit_cli.inspect.tiles import Range, choose_evenly, draw_bar, draw_table, fit_tile, paint, resize, tile
from vit_cli.section import Grid


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [
        ((16, 16), 170, (160, 160)),
        ((4, 8), 170, (84, 168)),
        ((224, 224), 170, (170, 170)),
        ((100, 400), 200, (50, 200)),
    ],
)
def test_small_images_are_enlarged_by_whole_factors_and_large_ones_keep_their_shape(
    shape: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    assert fit_tile(Grid(*shape), side) == expected


def test_cells_are_enlarged_without_blur() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(cells, Grid(30, 50)), cells.repeat(10, axis=0).repeat(10, axis=1))


def test_colours_run_from_the_least_to_the_largest_and_equal_numbers_break_nothing() -> None:
    painted = paint(np.array([-1.0, 3.0, 9.0]), Range(-1, 3))
    assert (painted[1] == painted[2]).all()
    assert (painted[0] != painted[1]).any()
    assert paint(np.ones((2, 2)), Range(1, 1)).shape == (2, 2, 3)


def test_tiles_lie_row_by_row_and_the_last_row_may_be_short() -> None:
    sheet = tile([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)], columns=2, gap=1)
    assert sheet[..., 0].tolist() == [
        [10, 10, 10, 255, 20, 20, 20],
        [10, 10, 10, 255, 20, 20, 20],
        [255] * 7,
        [30, 30, 30, 255, 255, 255, 255],
        [30, 30, 30, 255, 255, 255, 255],
    ]


@pytest.mark.parametrize("columns", [2, 5, 17, 25])
def test_a_table_of_any_number_of_columns_stays_inside_its_width(columns: int) -> None:
    rows = [[np.zeros((224, 160, 3), np.uint8)] * columns] * 2
    board = draw_table(rows, ["a rather long head"] * columns, HALF, ["n01484850_great_white_shark", "2"])
    assert max(x + picture.shape[1] for x, _, picture in board.images) <= HALF
    boxes = sorted((y, x, picture.shape) for x, y, picture in board.images)
    assert all(one[0] < other[0] or one[1] + one[2][1] < other[1] for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize(("columns", "shown"), [(3, "n01484850_great_white_shark"), (20, "n014848…ark")])
def test_names_of_rows_are_shortened_only_where_pictures_leave_no_room(columns: int, shown: str) -> None:
    rows = [[np.zeros((32, 32, 3), np.uint8)] * columns]
    board = draw_table(rows, [""] * columns, SINGLE, ["n01484850_great_white_shark"])
    assert shown in [line.text for line in board.words]
    assert max(x + picture.shape[1] for x, _, picture in board.images) <= SINGLE


def test_a_bar_names_both_ends() -> None:
    words = [line.text for line in draw_bar(Range(-0.25, 1), "cosine", 500).words]
    assert words == ["-0.25", "1.00   cosine"]


def test_an_even_choice_has_both_ends_and_all_of_few() -> None:
    assert choose_evenly(3, 5) == [0, 1, 2]
    assert choose_evenly(100, 5) == [0, 25, 50, 74, 99]
    assert choose_evenly(1, 5) == [0]

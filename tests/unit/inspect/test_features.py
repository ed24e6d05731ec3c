"""Colours of features against a decomposition by numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.inspect.tiny import get, make_sight
from vit_cli.inspect.features import draw_features, to_colors
from vit_cli.section import Grid


def test_colours_are_the_first_three_principal_components_of_all_images_together() -> None:
    cells = np.random.default_rng(0).normal(size=(3, 20, 8)) * np.linspace(3, 1, 8)
    colors, shares = to_colors(cells)
    flat = cells.reshape(60, 8) - cells.reshape(60, 8).mean(axis=0)
    _, strengths, axes = np.linalg.svd(flat, full_matrices=False)
    np.testing.assert_allclose(shares, strengths[:3] ** 2 / (strengths**2).sum(), rtol=1e-9)
    for channel in range(3):
        places, found = flat @ axes[channel], colors.reshape(60, 3)[:, channel]
        inside = (found > 0) & (found < 1)  # the first and the last percentile are cut off
        assert inside.sum() >= 57
        assert abs(np.corrcoef(places[inside], found[inside])[0, 1]) == pytest.approx(1)


def test_one_vector_has_one_colour_in_all_images() -> None:
    cells = np.random.default_rng(0).normal(size=(2, 9, 5))
    cells[1, 4] = cells[0, 2]
    colors, _ = to_colors(cells)
    np.testing.assert_allclose(colors[1, 4], colors[0, 2], atol=1e-12)


def test_features_that_do_not_vary_are_grey_and_two_dimensions_leave_the_third_colour_alone() -> None:
    colors, shares = to_colors(np.ones((2, 4, 6)))
    assert (colors == 0.5).all()
    assert not shares.any()
    colors, shares = to_colors(np.random.default_rng(0).normal(size=(2, 4, 2)))
    assert (colors[..., 2] == 0.5).all()
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "names"), [("tnt", ["layer 1", "layer 2"]), ("resnet", ["stem", "stage 1", "stage 2"])]
)
def test_a_row_for_each_image_and_a_map_for_each_layer(tmp_path: Path, kind: str, names: list[str]) -> None:
    panel = draw_features(make_sight(get(tmp_path, kind)))
    assert [layer["name"] for layer in panel.numbers["layers"]] == names
    assert len(panel.board.images) == 5 * (1 + len(names))
    assert len({picture.shape for _, _, picture in panel.board.images}) == 1
    assert Grid(*panel.board.images[0][2].shape[:2]) == Grid(96, 160)

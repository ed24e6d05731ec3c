"""Projections, and who gets a colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.unit.inspect.tiny import get, make_sight
from vit_cli.inspect.board import HALF
from vit_cli.inspect.projection import choose_groups, draw_legend, draw_projection, lack_images, mark, project
from vit_cli.inspect.style import DPI, drawing


def test_pca_keeps_the_distances_that_numpys_two_largest_components_have() -> None:
    features = np.random.default_rng(0).normal(size=(20, 6)) * np.linspace(4, 1, 6)
    places, spread, explained = project(features)
    centred = features - features.mean(axis=0)
    _, strengths, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    np.testing.assert_allclose(
        np.linalg.norm(places - places[0], axis=1), np.linalg.norm(expected - expected[0], axis=1)
    )
    np.testing.assert_allclose(explained, strengths[:2] ** 2 / (strengths**2).sum())
    assert spread.shape == (20, 2)


def test_t_sne_keeps_two_far_clusters_apart_and_is_the_same_every_time() -> None:
    features = np.random.default_rng(0).normal(size=(30, 5))
    features[15:] += 50
    _, spread, _ = project(features)
    gaps = np.linalg.norm(spread[:, None] - spread[None], axis=-1)
    assert gaps[:15, :15].max() < gaps[:15, 15:].min()
    np.testing.assert_array_equal(spread, project(features)[1])


def test_ten_classes_have_a_colour_each_and_of_a_thousand_the_most_frequent_twelve() -> None:
    assert sorted(choose_groups([str(place % 10) for place in range(100)])) == [str(digit) for digit in range(10)]
    many = [f"class {place}" for place in range(1000)] + [f"class {place}" for place in range(7, 19)]
    assert set(choose_groups(many)) == {f"class {place}" for place in range(7, 19)}


def test_no_two_of_the_classes_that_have_a_colour_have_colour_and_mark_in_common() -> None:
    assert len({(mark(place)["color"], mark(place)["marker"]) for place in range(20)}) == 20


def test_the_legend_of_many_classes_counts_the_others_and_stays_in_its_width() -> None:
    (box,) = draw_legend([f"a class with a long name {place}" for place in range(1000)], HALF).plots
    figure = Figure(figsize=(HALF / DPI, 6), dpi=DPI)
    with drawing():
        axes = figure.add_axes((0, 0, 1, 1))
        box.draw(axes)
        figure.canvas.draw()
    legend = axes.get_legend()
    assert legend.get_window_extent().width <= HALF
    assert legend.get_window_extent().height <= box.height
    assert [text.get_text() for text in legend.get_texts()][12:] == ["988 other classes (988)"]


def test_classes_numbers_and_nothing_at_all_give_colours(tmp_path: Path) -> None:
    from dataclasses import replace

    sight = make_sight(get(tmp_path, "cls"))
    for groups, told_by in ((sight.album.groups, "class"), (np.linspace(0, 9, 12), "age"), (None, "")):
        panel = draw_projection(replace(sight, album=replace(sight.album, groups=groups, told_by=told_by)))
        panel.board.save(tmp_path / "projection.png")
        assert np.shape(panel.numbers["pca"]) == (12, 2)
        assert told_by in panel.summary
        assert (tmp_path / "projection.png").stat().st_size > 5000


@pytest.mark.parametrize(("count", "reason"), [(8, ""), (7, "a projection takes 8 images or more, not 7")])
def test_few_images_are_no_projection(tmp_path: Path, count: int, reason: str) -> None:
    assert lack_images(make_sight(get(tmp_path, "cls"), count).album) == reason

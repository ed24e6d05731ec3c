"""Curves."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tests.unit.report.conftest import write_metrics, write_steps
from vit_cli.inspect.style import BLUE, drawing
from vit_cli.report.curves import (
    BINS,
    Cell,
    Line,
    Panel,
    add_axes,
    chart_curves,
    choose_panels,
    draw_curves,
    draw_panel,
    find_end,
    thin,
)
from vit_cli.report.record import read_metrics, read_steps

ALL = [
    "Loss",
    "Accuracy (%)",
    "Learning rate",
    "Gradient norm",
    "Images per second",
    "Waiting for data (% of the time)",
]


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "steps"), [(3, 30), (1, 1), (2, 0), (0, 5)])
def test_curves_are_drawn_from_whatever_is_there(tmp_path: Path, epochs: int, steps: int) -> None:
    metrics, log, out = tmp_path / "metrics.csv", tmp_path / "steps.jsonl", tmp_path / "plots/curves.png"
    write_metrics(metrics, epochs)
    write_steps(log, steps)
    panels = choose_panels(read_metrics(metrics), read_steps(log))
    draw_curves(panels, [1.5], out)
    with Image.open(out) as image:
        assert image.width == 1650
        corner = image.convert("RGB").getpixel((2, 2))
    assert corner == (255, 255, 255)
    titles = [panel.title for panel in panels]
    left_out = {"Accuracy (%)"} if not epochs else {"Gradient norm"} if not steps else set()
    assert titles == [title for title in ALL if title not in left_out]


@pytest.mark.parametrize(("top5", "drawn"), [(90.0, ["top-1", "top-5"]), (100.0, ["top-1"])])
def test_a_top5_that_never_leaves_100_percent_is_not_drawn(top5: float, drawn: list[str]) -> None:
    (panel,) = choose_panels([{"step": 10.0, "epoch": 1.0, "top1": 50.0, "top5": top5}], [])
    assert [line.label for line in panel.lines] == drawn


def test_all_diagrams_reach_to_the_same_epoch(tmp_path: Path) -> None:
    rows = [{"step": float(n), "epoch": float(n), "top1": 50.0} for n in (5, 9)]
    steps = [{"step": float(n), "epoch": n / 2, "loss": 1.0} for n in range(1, 25)]
    ends = set()
    for panel in (panels := choose_panels(rows, steps)):
        axes = Figure().add_subplot()
        draw_panel(axes, panel, end=find_end(panels))
        ends.add(axes.get_xlim())
    assert ends == {(-0.36, 12.36)}


def test_nothing_is_drawn_from_nothing(tmp_path: Path) -> None:
    panels = choose_panels([], [])
    draw_curves(panels, [], tmp_path / "curves.png")
    assert chart_curves(panels, []) == []
    assert not list(tmp_path.iterdir())


def test_the_wait_is_shown_in_per_cent(tmp_path: Path) -> None:
    write_steps(tmp_path / "steps.jsonl", 2)
    wait = choose_panels([], read_steps(tmp_path / "steps.jsonl"))[-1]
    assert wait.lines[0].points == [(0.1, 10.0), (0.2, 10.0)]


def test_of_very_many_points_neighbours_are_drawn_together_between_their_least_and_most() -> None:
    points = np.stack([np.arange(20_000.0), np.random.default_rng(0).normal(size=20_000)], axis=1)
    x, least, mean, most = thin(points)
    groups = np.array_split(points, BINS)
    assert len(x) == BINS
    assert (least.min(), most.max()) == (points[:, 1].min(), points[:, 1].max())
    np.testing.assert_allclose(mean.mean(), points[:, 1].mean(), atol=1e-3)
    assert np.all((least <= mean) & (mean <= most))
    assert len(groups[0]) in (66, 67)
    np.testing.assert_allclose(x[0], groups[0][:, 0].mean(), atol=1)


def test_a_chart_of_a_week_long_run_is_small_and_every_colour_is_the_pages_own() -> None:
    rows = [{"step": n, "epoch": n / 66, "grad_norm": 1.0 + n % 7} for n in range(20_000)]
    panel = next(panel for panel in choose_panels([], rows) if panel.title == "Gradient norm")
    (chart,) = chart_curves([panel], [100.0])
    assert len(chart) < 40_000
    assert chart.startswith('<svg class=chart viewBox="0 0 ')
    assert "var(--blue)" in chart
    assert not re.findall(r"#[0-9a-f]{6}", chart)
    assert not re.findall(r"id=\"(?:axes|figure|text)", chart), "two charts of a page would share it"
    assert ">Gradient norm</text>" in chart


def test_words_of_a_chart_keep_their_digits() -> None:
    rows = [{"step": n, "epoch": n / 10, "lr": 0.0005 * n / 10} for n in range(10)]
    (chart,) = chart_curves([Panel("Learning rate", [Line(rows, "lr", "", BLUE)])], [])
    assert ">0.0004</text>" in chart


@pytest.mark.parametrize("lr", [3e-5, 1.5e-4, 3e-4, 0.1])
@pytest.mark.parametrize("rate", [9.5, 250_000.0, 3e6])
def test_words_have_room_and_none_stands_on_another(lr: float, rate: float) -> None:
    steps = [{"epoch": e, "step": e, "lr": lr * e / 9, "images_per_second": rate} for e in range(1, 10)]
    for panel in choose_panels([], steps):
        with drawing():
            figure = Figure(figsize=(5.6, 2.9))
            axes = add_axes(figure, Cell(0, 0), Cell(1, 1))
            draw_panel(axes, panel)
            FigureCanvasAgg(figure).draw()
            (title,) = (text for text in axes.findobj(Text) if text.get_text() == panel.title)
            words = [text for text in (*axes.get_yticklabels(), axes.yaxis.get_offset_text()) if text.get_text()]
            boxes = [text.get_window_extent() for text in words]
            assert all(box.x0 >= 0 for box in boxes), [text.get_text() for text in words]
            assert not any(title.get_window_extent().overlaps(box) for box in boxes)

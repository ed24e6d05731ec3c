"""Curves."""

from pathlib import Path

import pytest
from PIL import Image

from tests.unit.report.conftest import write_metrics, write_steps
from vit_cli.report.curves import choose_panels, draw_curves
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
    assert draw_curves(metrics, log, out)
    with Image.open(out) as image:
        assert image.width == 1650
        corner = image.convert("RGB").getpixel((2, 2))
    assert corner == (255, 255, 255)
    titles = [panel.title for panel in choose_panels(read_metrics(metrics), read_steps(log))]
    left_out = {"Accuracy (%)"} if not epochs else {"Gradient norm"} if not steps else set()
    assert titles == [title for title in ALL if title not in left_out]


def test_nothing_is_drawn_from_nothing(tmp_path: Path) -> None:
    assert not draw_curves(tmp_path / "metrics.csv", tmp_path / "steps.jsonl", tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_the_wait_is_shown_in_per_cent(tmp_path: Path) -> None:
    write_steps(tmp_path / "steps.jsonl", 2)
    wait = choose_panels([], read_steps(tmp_path / "steps.jsonl"))[-1]
    assert wait.lines[0].points == [(0.1, 10.0), (0.2, 10.0)]

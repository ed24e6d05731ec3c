"""Predicted against true numbers as a picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_cli.metrics.task import Answer
from vit_cli.report.scatter import MOST_TARGETS, draw_scatter


def draw(path: Path, targets: int, off: float) -> Image.Image:
    true = np.random.default_rng(0).normal(size=(50, targets))
    draw_scatter(Answer(true, true + off, np.zeros((50, 0))), [f"$t_{n}$" for n in range(targets)], path)
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.mark.slow
def test_each_target_has_its_diagram_up_to_a_limit(tmp_path: Path) -> None:
    one, four, many = (draw(tmp_path / f"{count}.png", count, 0.1) for count in (1, 4, MOST_TARGETS + 3))
    assert one.width < four.width == many.width
    assert one.height < four.height == many.height


def test_other_predictions_are_another_picture(tmp_path: Path) -> None:
    right, wrong = draw(tmp_path / "a.png", 1, 0.0), draw(tmp_path / "b.png", 1, 2.0)
    assert np.asarray(right).tobytes() != np.asarray(wrong).tobytes()

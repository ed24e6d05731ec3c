"""The reliability diagram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_cli.metrics.calibration import Bin
from vit_cli.report.calibration import draw_reliability

pytestmark = pytest.mark.slow


def test_one_full_bin_is_drawn_at_its_place(tmp_path: Path) -> None:
    draw_reliability([Bin(0.8, 0.8667, 50, 0.83, 0.5)], 0.33, tmp_path / "reliability.png")
    pixels = np.asarray(Image.open(tmp_path / "reliability.png").convert("RGB")).astype(int)
    blue = (pixels[..., 2] > 200) & (pixels[..., 0] < 110)
    columns = np.flatnonzero(blue[120:].sum(0) > 50)  # below the legend
    assert 0.75 * pixels.shape[1] < columns.min()
    assert columns.max() < 0.95 * pixels.shape[1]


def test_few_images_are_counted_in_plain_numbers(tmp_path: Path) -> None:
    bins = [Bin(0.2, 0.2667, 3, 0.25, 0.0), Bin(0.2667, 0.3333, 5, 0.3, 0.4)]
    drawn = draw_reliability(bins, 0.1, tmp_path / "reliability.png")
    assert "mathdefault" not in drawn

"""Rectangles: where torchvision's are, as often."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from vit_cli.augment.draws import Box, fit_box, fit_boxes, shape_boxes

COUNT = 3000


def draw_numbers(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).random((count, 40))


def draw_boxes(h: int, w: int, area: tuple[float, float], ratio: tuple[float, float], numbers: np.ndarray) -> tuple:
    return fit_boxes(h, w, shape_boxes(area, ratio, numbers))


def test_one_box_is_that_of_many_to_the_bit() -> None:
    for h, w in ((50, 80), (7, 3), (1, 400), (224, 224)):
        shapes = shape_boxes((0.02, 1.0), (0.3, 1 / 0.3), draw_numbers(500))
        boxes, fits = fit_boxes(h, w, shapes)
        alone = [fit_box(h, w, shapes[row : row + 1].tolist()[0]) for row in range(500)]
        assert alone == [Box(*box) if fit else None for box, fit in zip(boxes.tolist(), fits, strict=True)]


def test_boxes_are_distributed_as_torchvisions() -> None:
    h, w, area, ratio = 50, 80, (0.08, 1.0), (3 / 4, 4 / 3)
    boxes, fits = draw_boxes(h, w, area, ratio, draw_numbers())
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(1, scale=area, ratio=ratio)
    image = torch.zeros(3, h, w)
    theirs = [crop.make_params([image]) for _ in range(COUNT)]
    theirs = np.array([[each[key] for key in ("top", "left", "height", "width")] for each in theirs])
    ours = boxes[fits]
    assert fits.mean() > 0.99  # torchvision's fall back on the middle is drawn from no distribution
    for take in (*(lambda box, side=side: box[:, side] for side in range(4)), lambda box: box[:, 2] * box[:, 3]):
        assert stats.ks_2samp(take(ours), take(theirs)).pvalue > 1e-3


def test_area_and_ratio_of_small_boxes_follow_their_closed_forms() -> None:
    boxes, fits = draw_boxes(1000, 1000, (0.02, 0.1), (0.5, 2.0), draw_numbers())
    assert fits.all()
    top, left, rows, columns = boxes.T
    assert stats.kstest(rows * columns / 1e6, stats.uniform(0.02, 0.08).cdf).pvalue > 1e-3
    assert stats.kstest(np.log(columns / rows), stats.uniform(-math.log(2), 2 * math.log(2)).cdf).pvalue > 1e-3
    assert stats.kstest(top / (1001 - rows), "uniform").pvalue > 1e-3
    assert stats.kstest(left / (1001 - columns), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("h", "w"), [(7, 90), (60, 60), (1, 300), (4, 4)])
def test_each_box_lies_inside_its_image_and_is_nothing_where_none_fits(h: int, w: int) -> None:
    boxes, fits = draw_boxes(h, w, (0.05, 1.0), (0.7, 1.4), draw_numbers(600))
    top, left, rows, columns = boxes.T
    assert (boxes >= 0).all()
    assert (top + rows <= h).all()
    assert (left + columns <= w).all()
    assert (rows[fits] > 0).all()
    assert not boxes[~fits].any()
    assert fits.any() == (w < 300)


def test_the_first_attempt_that_fits_is_taken() -> None:
    numbers = draw_numbers(200)
    first, fits = draw_boxes(30, 30, (0.5, 1.0), (0.3, 3.0), numbers[:, :4])
    whole, _ = draw_boxes(30, 30, (0.5, 1.0), (0.3, 3.0), numbers)
    assert 0.1 < fits.mean() < 0.9
    assert np.array_equal(whole[fits], first[fits])

"""Crops and resizes by matrices, as a GPU does them, are those that torch does one by one on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf

from vit_cli.augment.together import crop_and_resize, weigh
from vit_cli.section import Grid


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("res", [Grid(32, 32), Grid(9, 70)])
def test_boxes_by_matrices_are_within_two_levels_of_torchs_kernel(interpolation: str, res: Grid) -> None:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, (20, 3, 40, 56), dtype=np.uint8))
    top, left = draw.integers(0, 20, 20), draw.integers(0, 30, 20)
    boxes = np.stack([top, left, draw.integers(1, 41 - top), draw.integers(1, 57 - left)], axis=1)
    expected = torch.cat(
        [
            nnf.interpolate(image[None, :, t : t + h, x : x + w], tuple(res), mode=interpolation, antialias=True)
            for image, (t, x, h, w) in zip(images, boxes.tolist(), strict=True)
        ]
    )
    apart = (crop_and_resize(images, boxes, res, interpolation).int() - expected.int()).abs()
    assert apart.max() <= 2
    assert (apart > 0).float().mean() < 0.1


def test_weights_add_up_to_one_and_are_zero_outside_the_box() -> None:
    weights = weigh(torch.tensor([3.0, 0.0]), torch.tensor([5.0, 20.0]), 7, 20, "bicubic")
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))
    assert (weights[0, :, :3] == 0).all()
    assert (weights[0, :, 8:] == 0).all()

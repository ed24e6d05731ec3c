"""Our own pixel operations, beside torchvision's slower ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.pixels import blur, sharpen, solarise


def make_image(h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("threshold", [0, 1, 127.5, 128, 255])
def test_solarise_equals_torchvisions(threshold: float) -> None:
    image = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    assert torch.equal(solarise(image, threshold), F.solarize(image, threshold))


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.7, 1.0, 1.9])
@pytest.mark.parametrize("size", [(20, 30), (3, 3), (2, 9), (1, 1)])
def test_sharpen_equals_torchvisions(size: tuple[int, int], factor: float) -> None:
    image = make_image(*size)
    difference = sharpen(image, factor).int() - F.adjust_sharpness(image, factor).int()
    assert difference.abs().max() <= 1  # a float that falls short of a whole number
    assert (difference != 0).float().mean() < 0.02


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_blur_equals_torchvisions_away_from_the_border(sigma: float) -> None:
    image, size = make_image(30, 40), 2 * torch.tensor(3 * sigma).ceil().int().item() + 1
    difference = blur(image, sigma).int() - F.gaussian_blur(image, [size, size], [sigma, sigma]).int()
    assert difference[:, 7:-7, 7:-7].abs().max() <= 1


def test_blur_keeps_a_plain_image_and_takes_the_smallest() -> None:
    plain = torch.full((3, 5, 9), 77, dtype=torch.uint8)
    assert torch.equal(blur(plain, 2.0), plain)
    assert torch.equal(blur(plain[:, :1, :1], 2.0), plain[:, :1, :1])

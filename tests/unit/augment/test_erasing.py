"""Random erasing: how much, how often, with what."""

from __future__ import annotations

import torch

from vit_cli.augment.erasing import RandomErasing
from vit_cli.section import Grid

RES = Grid(1, 1)


def test_the_erased_share_of_the_area_is_within_its_range_and_even() -> None:
    image = torch.full((3, 100, 100), 7, dtype=torch.uint8)
    erase = RandomErasing(prob=1.0, mode="const", area=(0.1, 0.3)).build(RES)
    torch.manual_seed(0)
    shares = torch.stack([(erase(image)[0] != 7).float().mean() for _ in range(500)])
    assert shares.min() > 0.095
    assert shares.max() < 0.305
    assert abs(shares.mean() - 0.2) < 0.01


def test_the_erased_part_is_one_rectangle_of_the_mean() -> None:
    image = torch.full((3, 40, 60), 7, dtype=torch.uint8)
    torch.manual_seed(0)
    erased = RandomErasing(prob=1.0, mode="const", mean=(0.0, 0.4, 1.0)).build(RES)(image)
    rows, columns = (erased[0] != 7).nonzero().unbind(1)
    box = erased[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert box[0].numel() == len(rows)
    assert torch.equal(box, torch.tensor([0, 102, 255], dtype=torch.uint8).view(3, 1, 1).expand_as(box))


def test_pixels_are_normal_noise_with_the_mean_and_spread_of_each_channel() -> None:
    image = torch.zeros(3, 200, 200, dtype=torch.uint8)
    torch.manual_seed(0)
    erase = RandomErasing(
        prob=1.0, area=(0.99, 1.0), ratio=(1.0, 1.0), mean=(0.4, 0.5, 0.6), std=(0.05, 0.1, 0.1)
    ).build(RES)
    noise = erase(image)[:, 1:-1, 1:-1].float() / 255
    torch.testing.assert_close(noise.mean((1, 2)), torch.tensor([0.4, 0.5, 0.6]), rtol=0, atol=0.005)
    torch.testing.assert_close(noise.std((1, 2)), torch.tensor([0.05, 0.1, 0.1]), rtol=0, atol=0.005)


def test_erasing_happens_as_often_as_asked() -> None:
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    torch.manual_seed(0)
    erase = RandomErasing(prob=0.25, mode="const").build(RES)
    assert abs(sum(bool(erase(image).any()) for _ in range(1000)) / 1000 - 0.25) < 0.05

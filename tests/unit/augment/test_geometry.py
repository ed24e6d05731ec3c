"""Flips and affine maps of batches, beside torchvision's of one image after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.dice import Dice
from vit_cli.augment.geometry import Flip, Maps, Paint, Sampling, invert_affine, move
from vit_cli.augment.rows import change_rows
from vit_cli.keys import image_keys

SAMPLINGS: tuple[Sampling, ...] = ("nearest", "bilinear")


def make_images(h: int, w: int, count: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, h, w), generator=random, dtype=torch.uint8)


def make_dice(count: int) -> Dice:
    return Dice(image_keys(0, np.zeros(count, np.int64), np.arange(count)))


def warp(images: Tensor, maps: Maps, sampling: Sampling, fill: int) -> Tensor:
    return change_rows(images, move(np.arange(len(images)), maps, images, Paint(sampling, fill)))


def map_one(angle: float, shift: tuple[float, float], scale: float, shear: float) -> Maps:
    numbers = (np.array([number], dtype=np.float64) for number in (angle, *shift, scale, shear))
    angles, x, y, scales, shears = numbers
    return invert_affine(angles, (x, y), scales, shears)


def share_of_differing_pixels(a: Tensor, b: Tensor, tolerance: int) -> float:
    return float(((a.int() - b.int()).abs() > tolerance).any(-3).float().mean())


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(40, 60), (8, 8), (1, 1), (1, 9)])
def test_each_image_is_mapped_as_torchvision_maps_it(size: tuple[int, int], sampling: Sampling) -> None:
    random, images = np.random.default_rng(0), make_images(*size, 8)
    angles, shears, scales = random.uniform(-40, 40, 8), random.uniform(-15, 15, 8), random.uniform(0.6, 1.4, 8)
    x, y = random.integers(-9, 10, (2, 8)).astype(np.float64)
    angles[0], shears[0], scales[1:3], shears[1:3], angles[1:3] = 0.0, 0.0, 1.0, 0.0, 0.0  # mere scale, mere shifts
    ours = warp(images, invert_affine(angles, (x, y), scales, shears), sampling, 0)
    theirs = torch.stack(
        [
            F.affine(
                image,
                angle=angles[place],
                translate=[int(x[place]), int(y[place])],
                scale=scales[place],
                shear=[shears[place], 0.0],
                interpolation=v2.InterpolationMode(sampling),
            )
            for place, image in enumerate(images)
        ]
    )
    # Rounding decides between two pixels, or two values, in a few places.
    assert share_of_differing_pixels(ours, theirs, tolerance=0 if sampling == "nearest" else 1) < 0.005


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_lies_outside_counts_as_an_endless_plain_of_the_fill(sampling: Sampling) -> None:
    images, mode = make_images(20, 30, 1), v2.InterpolationMode(sampling)
    wide = F.pad(images, [40], fill=99)
    expected = F.affine(wide, angle=33.0, translate=[3, -2], scale=0.8, shear=[9.0, 0.0], interpolation=mode)
    ours = warp(images, map_one(33.0, (3, -2), 0.8, 9.0), sampling, 99)
    assert share_of_differing_pixels(ours, expected[:, :, 40:60, 40:70], tolerance=1) < 0.005


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_no_motion_changes_nothing(sampling: Sampling) -> None:
    for size in ((9, 14), (300, 301)):
        images = make_images(*size, 1)
        assert torch.equal(warp(images, map_one(0.0, (0, 0), 1.0, 0.0), sampling, 7), images)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_shift_moves_right_and_down_and_fills_also_when_all_is_gone(sampling: Sampling) -> None:
    images = make_images(5, 6, 1)
    moved = warp(images, map_one(0.0, (2, 1), 1.0, 0.0), sampling, 9)
    assert torch.equal(moved[..., 1:, 2:], images[..., :-1, :-2])
    assert (moved[..., 0, :] == 9).all()
    assert (moved[..., :2] == 9).all()
    for gone in ((6, 0), (-600, 0), (0, 5), (0, -50), (7, 90)):
        assert (warp(images, map_one(0.0, gone, 1.0, 0.0), sampling, 9) == 9).all()


def test_rows_that_are_shifted_are_what_pixel_by_pixel_would_give() -> None:
    images, random = make_images(17, 23, 40), np.random.default_rng(0)
    ones, zeros = np.ones(40), np.zeros(40)
    x, y = random.uniform(-30, 30, (2, 40))
    maps = Maps(ones, random.uniform(-1.5, 1.5, 40), x, zeros, ones, y)
    shifted = warp(images, maps, "nearest", 5)
    # A map that is off by less than half of 2**-16 pixel reads the same pixels, but not in whole rows.
    assert torch.equal(shifted, warp(images, maps._replace(yx=zeros + 1e-9), "nearest", 5))


def test_a_quarter_turn_of_a_square_is_exact() -> None:
    images = make_images(7, 7, 1)
    assert torch.equal(warp(images, map_one(90.0, (0, 0), 1.0, 0.0), "nearest", 0), images.rot90(-1, (2, 3)))


def test_a_scale_near_nothing_reads_the_middle_or_the_outside() -> None:
    images = make_images(6, 6, 1)
    assert (warp(images, map_one(10.0, (0, 0), 1e-30, 0.0), "nearest", 3) == 3).all()
    blown_up = warp(images, map_one(0.0, (0, 0), 1e6, 0.0), "nearest", 3)
    assert torch.equal(blown_up, images[..., 3:4, 3:4].expand_as(images))


@pytest.mark.slow
def test_a_photo_with_more_pixels_than_float32_counts_is_read_at_the_right_places() -> None:
    images = torch.zeros(1, 3, 4200, 4100, dtype=torch.uint8)
    images[..., 4190, 4001] = 255
    for angle in (0.0, 180.0):
        moved = warp(images, map_one(angle, (0, 0), 1.0, 0.0), "nearest", 0)
        assert torch.equal(moved.nonzero(), (images if angle == 0 else images.flip(2, 3)).nonzero())


def test_flips_equal_torchvisions_and_happen_as_often_as_asked() -> None:
    images = make_images(4, 5, 3)
    assert torch.equal(Flip(prob=1.0).change(images, make_dice(3)), F.horizontal_flip(images))
    assert torch.equal(Flip(prob=1.0, direction="vertical").change(images, make_dice(3)), F.vertical_flip(images))
    many = images[:1].expand(2000, -1, -1, -1)
    flipped = (Flip(prob=0.25).change(many, make_dice(2000)) != many).flatten(1).any(1)
    assert abs(float(flipped.float().mean()) - 0.25) < 0.03

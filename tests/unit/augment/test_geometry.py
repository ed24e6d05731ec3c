"""Flips and affine maps, beside torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.geometry import Affine, Flip, invert_affine, warp
from vit_cli.section import Grid

RES = Grid(1, 1)


def make_image(h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def share_of_differing_pixels(a: Tensor, b: Tensor, tolerance: int) -> float:
    return float(((a.int() - b.int()).abs() > tolerance).any(0).float().mean())


@pytest.mark.parametrize("sampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(40, 60), (8, 8), (1, 1), (1, 9)])
def test_affine_equals_torchvisions_with_the_same_seed(size: tuple[int, int], sampling: str) -> None:
    fields = {"degrees": 40.0, "translate": (0.3, 0.2), "scale": (0.6, 1.4), "shear": 15.0}
    ours = Affine(interpolation=sampling, **fields).build(RES)
    theirs = v2.RandomAffine(interpolation=v2.InterpolationMode(sampling), fill=None, **fields)
    image = make_image(*size)
    for seed in range(8):
        results = []
        for transform in (ours, theirs):
            torch.manual_seed(seed)
            results.append(transform(image))
        # Rounding decides between two pixels, or two values, in a few places.
        assert share_of_differing_pixels(*results, tolerance=0 if sampling == "nearest" else 1) < 0.005


@pytest.mark.parametrize("sampling", ["nearest", "bilinear"])
def test_what_lies_outside_counts_as_an_endless_plain_of_the_fill(sampling: str) -> None:
    image, mode = make_image(20, 30), v2.InterpolationMode(sampling)
    wide = F.pad(image, [40], fill=99)
    expected = F.affine(wide, angle=33.0, translate=[3, -2], scale=0.8, shear=[9.0, 0.0], interpolation=mode)
    ours = warp(image, invert_affine(33.0, (3, -2), 0.8, 9.0), sampling, 99)
    assert share_of_differing_pixels(ours, expected[:, 40:60, 40:70], tolerance=1) < 0.005


def test_no_motion_changes_nothing() -> None:
    image = make_image(9, 14)
    for sampling in ("nearest", "bilinear"):
        assert torch.equal(warp(image, invert_affine(0.0, (0, 0), 1.0, 0.0), sampling, 7), image)


def test_a_shift_moves_right_and_down_and_fills() -> None:
    image = make_image(5, 6)
    moved = warp(image, invert_affine(0.0, (2, 1), 1.0, 0.0), "nearest", 9)
    assert torch.equal(moved[:, 1:, 2:], image[:, :-1, :-2])
    assert (moved[:, 0] == 9).all()
    assert (moved[:, :, :2] == 9).all()


def test_a_quarter_turn_of_a_square_is_exact() -> None:
    image = make_image(7, 7)
    assert torch.equal(warp(image, invert_affine(90.0, (0, 0), 1.0, 0.0), "nearest", 0), image.rot90(-1, (1, 2)))


@pytest.mark.slow
def test_a_photo_with_more_pixels_than_float32_counts_is_read_at_the_right_places() -> None:
    image = torch.zeros(3, 4200, 4100, dtype=torch.uint8)
    image[:, 4190, 4001] = 255
    moved = warp(image, invert_affine(0.0, (0, 0), 1.0, 0.0), "nearest", 0)
    assert torch.equal(moved.nonzero(), image.nonzero())


def test_flips_equal_torchvisions_and_happen_as_often_as_asked() -> None:
    image = make_image(4, 5)
    assert torch.equal(Flip(prob=1.0).build(RES)(image), F.horizontal_flip(image))
    assert torch.equal(Flip(prob=1.0, direction="vertical").build(RES)(image), F.vertical_flip(image))
    torch.manual_seed(0)
    flip = Flip(prob=0.25).build(RES)
    share = sum(not torch.equal(flip(image), image) for _ in range(2000)) / 2000
    assert abs(share - 0.25) < 0.03

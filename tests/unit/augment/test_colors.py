"""Colour transforms, beside torchvision's."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.colors import ColorJitter, GaussianBlur, Grayscale, ThreeAugment
from vit_cli.augment.pixels import solarise
from vit_cli.section import Grid

RES = Grid(1, 1)


def make_image(h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_color_jitter_equals_torchvisions_with_the_same_seed() -> None:
    for fields in ({"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}, {"saturation": 1.5}, {}):
        ours, theirs = ColorJitter(**fields).build(RES), v2.ColorJitter(**fields)
        for seed in range(5):
            results = []
            for transform in (ours, theirs):
                torch.manual_seed(seed)
                results.append(transform(make_image(12, 9)))
            assert torch.equal(*results)


def test_three_augment_does_each_of_its_three_as_often() -> None:
    image, transform = make_image(6, 6), ThreeAugment().build(RES)
    grey, solarised = F.rgb_to_grayscale(image, 3), solarise(image, 128)
    torch.manual_seed(0)
    results = [transform(image) for _ in range(900)]
    greys = sum(torch.equal(result, grey) for result in results)
    solars = sum(torch.equal(result, solarised) for result in results)
    assert 240 < greys < 360
    assert 240 < solars < 360


def test_grey_and_blur_happen_as_often_as_asked() -> None:
    image = make_image(6, 6)
    for kind in (Grayscale, GaussianBlur):
        assert torch.equal(kind(prob=0.0).build(RES)(image), image)
        torch.manual_seed(0)
        transform = kind(prob=0.3, **({"sigma": (1.0, 1.0)} if kind is GaussianBlur else {})).build(RES)
        share = sum(not torch.equal(transform(image), image) for _ in range(1000)) / 1000
        assert abs(share - 0.3) < 0.05
    assert torch.equal(Grayscale(prob=1.0).build(RES)(image), F.rgb_to_grayscale(image, 3))

"""Colour transforms of batches: what they draw, beside torchvision's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.colors import ColorJitter, GaussianBlur, Grayscale, ThreeAugment
from vit_cli.augment.dice import Dice
from vit_cli.keys import image_keys

COUNT = 1000


def make_image(h: int = 9, w: int = 11) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def make_dice(count: int = COUNT) -> Dice:
    return Dice(image_keys(0, np.zeros(count, np.int64), np.arange(count)))


def share_of_changed(images: Tensor, image: Tensor) -> float:
    return float((images != image).flatten(1).any(1).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
        {"brightness": 1.5},
        {"contrast": 0.5, "saturation": 2.0},
    ],
)
def test_color_jitter_is_distributed_as_torchvisions(fields: dict[str, float]) -> None:
    image, theirs = make_image(), v2.ColorJitter(**fields)
    torch.manual_seed(0)
    expected = torch.stack([theirs(image) for _ in range(500)]).float()
    ours = ColorJitter(**fields).change(image.expand(500, -1, -1, -1), make_dice(500)).float()
    for one, other in ((ours, expected), (ours.std(1), expected.std(1)), (ours[:, 0], expected[:, 0])):
        means = (each.flatten(1).mean(1).numpy() for each in (one, other))
        assert stats.ks_2samp(*means).pvalue > 1e-3


def test_color_jitter_applies_its_adjustments_in_every_order_as_often() -> None:
    image, count = make_image(), 600
    jitter = ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3)
    images = jitter.change(image.expand(count, -1, -1, -1), make_dice(count))
    dice = make_dice(count)
    order = dice.uniform(count=4).argsort(1)
    factors = [dice.uniform(0.7, 1.3) for _ in range(3)]
    adjustments = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    for row in range(0, count, 20):
        expected = image
        for index in order[row]:
            if index < 3:
                expected = adjustments[index](expected, factors[index][row])
        assert (images[row].int() - expected.int()).abs().max() <= 3  # a level in each of three steps
    orders = [tuple(index for index in row if index < 3) for row in order.tolist()]
    seen = [orders.count(each) for each in itertools.permutations(range(3))]
    assert stats.chisquare(seen).pvalue > 1e-3


def test_three_augment_does_each_of_its_three_as_often() -> None:
    image = make_image()
    results = ThreeAugment().change(image.expand(COUNT, -1, -1, -1), make_dice())
    greys = (results == F.rgb_to_grayscale(image, 3)).flatten(1).all(1)
    solars = (results == F.solarize(image, 128)).flatten(1).all(1)
    seen = [int(greys.sum()), int(solars.sum()), int((~greys & ~solars).sum())]
    assert stats.chisquare(seen).pvalue > 1e-3
    assert torch.equal(
        ThreeAugment(threshold=255).change(image.expand(9, -1, -1, -1), make_dice(9))[~solars[:9]],
        results[:9][~solars[:9]],
    )


def test_blurs_are_gaussians_of_even_sigma() -> None:
    """A bright dot becomes the square of the middle tap, by which its sigma is known."""
    image = torch.zeros(3, 15, 15, dtype=torch.uint8)
    image[:, 7, 7] = 255
    blurred = GaussianBlur(prob=1.0, sigma=(0.5, 2.0)).change(image.expand(COUNT, -1, -1, -1), make_dice())
    sigmas = np.linspace(0.5, 2.0, 301)
    steps = np.arange(-6, 7)[:, None]
    taps = np.where(np.abs(steps) <= np.ceil(3 * sigmas), np.exp(-0.5 * (steps / sigmas) ** 2), 0)
    peaks = 255 * (taps[6] / taps.sum(0)) ** 2
    found = np.interp(-blurred[:, 0, 7, 7].numpy().astype(float), -peaks, sigmas)
    assert abs(found.mean() - 1.25) < 0.05
    np.testing.assert_allclose(
        np.quantile(found, [0.1, 0.25, 0.5, 0.75, 0.9]), [0.65, 0.875, 1.25, 1.625, 1.85], atol=0.08
    )


def test_grey_and_blur_happen_as_often_as_asked() -> None:
    image = make_image()
    images = image.expand(COUNT, -1, -1, -1)
    for kind, fields in ((Grayscale, {}), (GaussianBlur, {"sigma": (1.0, 1.0)})):
        assert torch.equal(kind(prob=0.0, **fields).change(images, make_dice()), images)
        assert share_of_changed(kind(prob=1.0, **fields).change(images, make_dice()), image) == 1
        assert abs(share_of_changed(kind(prob=0.3, **fields).change(images, make_dice()), image) - 0.3) < 0.05
    assert torch.equal(Grayscale(prob=1.0).change(images, make_dice())[5], F.rgb_to_grayscale(image, 3))

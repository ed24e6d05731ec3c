"""Pixel operations on batches, beside torchvision's on one image after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vit_cli.augment import pixels

FACTORS = (0.0, 0.1, 0.73, 1.0, 1.27, 1.9)
SHARES = (-0.5, -0.21, -0.05, 0.0, 0.1, 0.37)
MASKS = (0, 128, 240, 248, 254, 255)
THRESHOLDS = (0, 1, 128, 179, 254, 255)
SIZES = [(20, 30), (32, 32), (3, 3), (2, 9), (1, 1)]


def make_images(h: int, w: int, count: int = 6) -> Tensor:
    """Smooth ones, noise, a plain one and one of two values, so that nothing is spared."""
    random = torch.Generator().manual_seed(h * w)
    images = torch.randint(0, 256, (count, 3, h, w), generator=random, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.linspace(0, 3, h), torch.linspace(0, 4, w), indexing="ij")
    waves = torch.stack([(rows + columns).sin(), (rows - columns).cos(), (rows * columns).sin()])
    images[1] = (127.5 + 120 * waves).to(torch.uint8)
    images[2] = 77
    images[3] = images[3] // 128 * 90
    images[4] = images[4] // 4 + 60
    return images


def is_equal(ours: Tensor, images: Tensor, theirs: Callable[[int, Tensor], Tensor], apart: float) -> bool:
    """Tell whether each image has torchvision's result, but for a share `apart` of values that are one level off.

    (A plain image, and all of the smallest, is one value many times: there the share says nothing.)
    """
    expected = torch.stack([theirs(place, image) for place, image in enumerate(images)])
    difference = (ours.int() - expected.int()).abs()
    varied = torch.tensor([image.unique().numel() > 100 for image in images])
    is_near = ours.dtype == torch.uint8 and bool(difference.max() <= (1 if apart else 0))
    return is_near and (not varied.any() or bool((difference[varied] != 0).float().mean() <= apart))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("ours", "theirs", "numbers", "apart"),
    [
        (pixels.brighten, F.adjust_brightness, FACTORS, 0),
        # A product that is a whole number before it is rounded may fall short of it.
        (pixels.contrast, F.adjust_contrast, FACTORS, 0.02),
        (pixels.saturate, F.adjust_saturation, FACTORS, 0.02),
        (pixels.sharpen, F.adjust_sharpness, FACTORS, 0.02),
        (pixels.turn_hue, F.adjust_hue, SHARES, 0.02),
    ],
)
def test_each_image_is_changed_by_its_own_number_as_torchvision_would(
    size: tuple[int, int], ours: Callable[..., Tensor], theirs: Callable[..., Tensor], numbers: tuple, apart: float
) -> None:
    for turn in range(len(numbers)):
        images, own = make_images(*size), numbers[turn:] + numbers[:turn]
        assert is_equal(
            ours(images, torch.tensor(own)), images, lambda place, image, own=own: theirs(image, own[place]), apart
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pixels.stretch, F.autocontrast),
        (pixels.equalise, F.equalize),
        (pixels.invert, F.invert),
        (pixels.take_colour, lambda image: F.rgb_to_grayscale(image, 3)),
    ],
)
def test_operations_without_a_number_equal_torchvisions(
    size: tuple[int, int], ours: Callable[..., Tensor], theirs: Callable[..., Tensor]
) -> None:
    images = make_images(*size)
    assert is_equal(ours(images), images, lambda _, image: theirs(image), 0)


def test_solarise_and_posterise_equal_torchvisions_on_every_byte() -> None:
    images = torch.arange(256, dtype=torch.uint8).expand(6, 3, 1, 256).contiguous()
    solarised = pixels.solarise(images, torch.tensor(THRESHOLDS, dtype=torch.uint8))
    assert is_equal(solarised, images, lambda place, image: F.solarize(image, THRESHOLDS[place]), 0)
    posterised = pixels.posterise(images, torch.tensor(MASKS, dtype=torch.uint8))
    assert is_equal(posterised, images, lambda place, image: F.posterize(image, MASKS[place].bit_count()), 0)


def test_nothing_is_written_into_the_images_given() -> None:
    images = make_images(20, 15)
    before, numbers = images.clone(), torch.full((6,), 0.4)
    for change in (pixels.brighten, pixels.contrast, pixels.saturate, pixels.sharpen, pixels.turn_hue):
        assert not torch.equal(change(images, numbers), before)
        assert torch.equal(images, before)
    for plain in (pixels.stretch, pixels.equalise, pixels.invert, pixels.take_colour):
        assert not torch.equal(plain(images), before)
        assert torch.equal(images, before)


def gauss(sigma: float, radius: int) -> Tensor:
    taps = torch.exp(-0.5 * (torch.arange(radius + 1) / sigma) ** 2)
    return taps / (taps[0] + 2 * taps[1:].sum())


def test_blur_equals_torchvisions_away_from_the_border() -> None:
    images, sigmas = make_images(30, 40), (0.7, 0.8, 0.9, 1.0, 0.75, 0.99)
    ours = pixels.blur(images, torch.stack([gauss(sigma, 3) for sigma in sigmas]))
    for image, blurred, sigma in zip(images, ours, sigmas, strict=True):
        difference = blurred.int() - F.gaussian_blur(image, [7, 7], [sigma, sigma]).int()
        assert difference[:, 3:-3, 3:-3].abs().max() <= 1
        assert (difference[:, 3:-3, 3:-3] != 0).float().mean() < 0.01


def test_blur_repeats_the_border_without_end() -> None:
    images, taps = make_images(9, 12), gauss(1.6, 5).expand(6, -1)
    wide = torch.nn.functional.pad(images.float(), (20, 20, 20, 20), mode="replicate").to(torch.uint8)
    assert torch.equal(pixels.blur(images, taps), pixels.blur(wide, taps)[:, :, 20:-20, 20:-20])


def test_blur_keeps_a_plain_image_and_takes_the_smallest() -> None:
    plain = torch.full((2, 3, 5, 9), 77, dtype=torch.uint8)
    taps = gauss(2.0, 6).expand(2, -1)
    assert torch.equal(pixels.blur(plain, taps), plain)
    assert torch.equal(pixels.blur(plain[:, :, :1, :1], taps), plain[:, :, :1, :1])

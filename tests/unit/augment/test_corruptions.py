"""Harm to images."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vit_cli.augment.corruptions import KINDS, STRENGTHS, Corruption

EVERY = pytest.mark.parametrize("kind", KINDS)


def picture(side: int = 224) -> Tensor:
    """Smooth colours with some detail, none of them near black or white."""
    torch.manual_seed(0)
    coarse = torch.randint(60, 150, (1, 3, 14, 14)).float()
    image = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0] + 6 * torch.randn(3, side, side)
    return image.clamp(20, 200).to(torch.uint8)


@EVERY
def test_harm_grows_with_the_strength(kind: str) -> None:
    image = picture()
    far = [
        (Corruption(kind, strength)(image, 3).float() - image).square().mean() for strength in range(1, STRENGTHS + 1)
    ]
    assert far[0] > 0
    assert far[4] > 1.2 * far[0]
    assert all(
        more > 0.9 * less for less, more in pairwise(far)
    )  # squares of 1 / 0.6 pixels fit worse than those of two


@EVERY
def test_harm_is_a_function_of_the_images_number_and_leaves_the_generator_alone(kind: str) -> None:
    image, harm = picture(), Corruption(kind, 3)
    torch.manual_seed(1)
    first, state = harm(image, 5), torch.get_rng_state()
    torch.rand(7)
    assert torch.equal(harm(image, 5), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(harm(image, 6), first) == (kind != "noise")


@EVERY
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 224, 32), (3, 1, 1)])
def test_size_and_type_stay(kind: str, shape: tuple[int, int, int]) -> None:
    harmed = Corruption(kind, 5)(torch.full(shape, 100, dtype=torch.uint8), 0)
    assert (harmed.shape, harmed.dtype) == (shape, torch.uint8)


def test_noise_has_its_standard_deviation() -> None:
    grey = torch.full((3, 100, 100), 128, dtype=torch.uint8)
    assert Corruption("noise", 1)(grey, 0).double().std().item() == pytest.approx(0.08 * 255, rel=0.03)


def test_blur_is_as_strong_on_an_image_of_any_size() -> None:
    large = torch.zeros(3, 224, 224, dtype=torch.uint8)
    large[:, :, 112:] = 200  # an edge
    small = large[:, ::4, ::4]
    wide = [(Corruption("blur", 5)(image, 0)[0, 4] > 20).double().mean().item() for image in (large, small)]
    assert wide[0] == pytest.approx(wide[1], abs=0.02)

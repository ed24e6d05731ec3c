"""Transforms of batches do on a GPU what they do on a CPU, and never hold the host up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vit_cli.augment.autoaugment import AutoAugment
from vit_cli.augment.colors import ColorJitter, GaussianBlur, Grayscale, ThreeAugment
from vit_cli.augment.dice import Dice
from vit_cli.augment.erasing import RandomErasing
from vit_cli.augment.geometry import Affine, Flip
from vit_cli.augment.policies import AugMix, RandAugment, TrivialAugment
from vit_cli.augment.same_size import SameSize
from vit_cli.keys import image_keys

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
TRANSFORMS: list[SameSize] = [
    Flip(),
    Affine(degrees=30.0, translate=(0.2, 0.2), scale=(0.5, 1.5), shear=20.0),
    Affine(degrees=180.0, interpolation="nearest"),
    RandAugment(),
    TrivialAugment(),
    AutoAugment(policy="svhn"),
    AugMix(width=2, depth=1),
    ThreeAugment(),
    ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
    Grayscale(),
    GaussianBlur(),
    RandomErasing(),
    RandomErasing(mode="const"),
]
every_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)


def make_images() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (128, 3, 48, 40), generator=random, dtype=torch.uint8)


def make_dice() -> Dice:
    return Dice(image_keys(0, np.zeros(128, np.int64), np.arange(128)))


@every_transform
def test_a_gpu_makes_the_images_of_a_cpu_within_a_level(transform: SameSize) -> None:
    images = make_images()
    expected = transform.change(images, make_dice()).int()
    for layout in (torch.contiguous_format, torch.channels_last):
        changed = transform.change(images.contiguous(memory_format=layout).cuda(), make_dice())
        assert changed.device.type == "cuda"
        assert (changed.cpu().int() - expected).abs().max() <= 1


@every_transform
def test_the_host_never_waits(transform: SameSize) -> None:
    images = make_images().cuda()
    first = transform.change(images, make_dice())  # what is kept, such as noise, is made and sent once
    torch.cuda.set_sync_debug_mode("error")  # from here on an operation that waits raises
    try:
        again = transform.change(images, make_dice())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(again, first)

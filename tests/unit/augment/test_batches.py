"""Laws of every transform that keeps the size: an image's company, its layout and the processor's threads do not matter."""

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
from vit_cli.augment.rows import Group, change_rows
from vit_cli.augment.same_size import SameSize
from vit_cli.keys import Keys, image_keys

SIZES = [(32, 32), (13, 18), (70, 90), (1, 2)]
TRANSFORMS: list[SameSize] = [
    Flip(),
    Flip(direction="vertical"),
    Affine(degrees=30.0, translate=(0.2, 0.2), scale=(0.5, 1.5), shear=20.0),
    Affine(degrees=180.0, interpolation="nearest", fill=9),
    RandAugment(),
    RandAugment(ops=3, magnitude=10, bins=11, prob=0.7, interpolation="bilinear", fill=128),
    TrivialAugment(),
    AutoAugment(policy="svhn"),
    AutoAugment(policy="cifar10"),
    AugMix(),
    ThreeAugment(),
    ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2),
    Grayscale(prob=0.5),
    GaussianBlur(),
    RandomErasing(prob=0.7),
    RandomErasing(prob=0.7, mode="const"),
]
every_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)


def make_images(h: int, w: int, count: int = 40) -> Tensor:
    random = torch.Generator().manual_seed(h + w)
    return torch.randint(0, 256, (count, 3, h, w), generator=random, dtype=torch.uint8)


def make_keys(count: int = 40) -> Keys:
    return image_keys(0, np.zeros(count, np.int64), np.arange(count))


@pytest.mark.slow
@every_transform
def test_an_image_becomes_the_same_alone_and_in_any_batch_in_any_order(transform: SameSize) -> None:
    keys = make_keys()
    for size in SIZES:
        images = make_images(*size)
        together = transform.change(images, Dice(keys))
        order = np.random.default_rng(0).permutation(len(images))[:31]
        assert torch.equal(transform.change(images[order], Dice(keys[order])), together[order])
        for row in range(0, 40, 7):
            alone = transform.change(images[row : row + 1], Dice(keys[row : row + 1]))
            assert torch.equal(alone[0], together[row])


@pytest.mark.slow
@every_transform
def test_the_memory_layout_does_not_matter_and_nothing_given_is_changed(transform: SameSize) -> None:
    for size in SIZES:
        images = make_images(*size)
        before = images.clone()
        planes = transform.change(images, Dice(make_keys()))
        pixels = transform.change(images.contiguous(memory_format=torch.channels_last), Dice(make_keys()))
        spread = transform.change(images.repeat(1, 1, 1, 2)[..., : size[1]], Dice(make_keys()))
        assert planes.shape == images.shape
        assert planes.dtype == torch.uint8
        assert torch.equal(planes, pixels)
        assert torch.equal(planes, spread)
        assert torch.equal(images, before)


@every_transform
def test_other_keys_give_other_images_and_most_come_out_changed(transform: SameSize) -> None:
    images = make_images(32, 32)
    first = transform.change(images, Dice(make_keys()))
    second = transform.change(images, Dice(image_keys(0, np.ones(40, np.int64), np.arange(40))))
    assert (first != second).flatten(1).any(1).float().mean() > 0.3
    assert (first != images).flatten(1).any(1).float().mean() > 0.3


@pytest.mark.slow
@every_transform
def test_two_threads_give_the_bits_of_one(transform: SameSize) -> None:
    images, threads, results = make_images(40, 40, 60), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(transform.change(images, Dice(make_keys(60))))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@every_transform
def test_torchs_and_numpys_own_generators_are_left_alone(transform: SameSize) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    transform.change(make_images(12, 12), Dice(make_keys()))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_groups_change_their_own_images_with_their_own_numbers() -> None:
    images = make_images(5, 7, 6)
    groups = [
        Group(np.array([4, 1]), lambda chosen, numbers: chosen + numbers.view(-1, 1, 1, 1), (np.uint8([10, 20]),)),
        Group(np.array([], dtype=np.int64), torch.zeros_like),
        Group(np.array([0]), lambda chosen: 255 - chosen),
    ]
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        changed = change_rows(given, groups)
        expected = torch.stack([255 - images[0], images[1] + 20, images[2], images[3], images[4] + 10, images[5]])
        assert torch.equal(changed, expected)
        assert changed.stride() == given.stride()
    assert change_rows(images, [groups[1]]) is images

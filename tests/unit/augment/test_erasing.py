"""Random erasing: how much, how often, with what."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torchvision.transforms import v2

from vit_cli.augment.dice import Dice
from vit_cli.augment.erasing import RandomErasing
from vit_cli.keys import image_keys


def make_dice(count: int, epoch: int = 0) -> Dice:
    return Dice(image_keys(0, np.full(count, epoch), np.arange(count)))


def test_the_erased_part_is_as_large_and_as_often_at_each_place_as_torchvisions() -> None:
    count, size = 800, (3, 40, 50)
    images = torch.full((count, *size), 7, dtype=torch.uint8)
    ours = RandomErasing(prob=1.0, mode="const", mean=(0.0, 0.0, 0.0)).change(images, make_dice(count)) == 0
    theirs = v2.RandomErasing(p=1.0, scale=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3), value=0)
    torch.manual_seed(0)
    expected = torch.stack([theirs(image) for image in images]) == 0
    for take in (
        lambda erased: erased.sum((1, 2, 3)),
        lambda erased: erased.any(3).sum((1, 2)),
        lambda erased: erased.any(2).int().argmax(2)[:, 0],
        lambda erased: erased.any(3).int().argmax(2)[:, 0],
    ):
        assert stats.ks_2samp(take(ours).numpy(), take(expected).numpy()).pvalue > 1e-3


def test_the_erased_part_is_one_rectangle_of_the_mean() -> None:
    images = torch.full((30, 3, 40, 60), 7, dtype=torch.uint8)
    erase = RandomErasing(prob=1.0, mode="const", mean=(0.0, 0.4, 1.0))
    for erased in erase.change(images, make_dice(30)):
        rows, columns = (erased[0] != 7).nonzero().unbind(1)
        box = erased[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box[0].numel() == len(rows)
        assert torch.equal(box, torch.tensor([0, 102, 255], dtype=torch.uint8).view(3, 1, 1).expand_as(box))


def test_pixels_are_normal_noise_with_the_mean_and_spread_of_each_channel() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.05, 0.1, 0.1)
    erase = RandomErasing(prob=1.0, area=(0.99, 1.0), ratio=(1.0, 1.0), mean=mean, std=std)
    noise = erase.change(torch.zeros(1, 3, 200, 200, dtype=torch.uint8), make_dice(1))[0, :, 1:-1, 1:-1].float() / 255
    torch.testing.assert_close(noise.mean((1, 2)), torch.tensor(mean), rtol=0, atol=0.002)
    torch.testing.assert_close(noise.std((1, 2)), torch.tensor(std), rtol=0, atol=0.002)
    standard = (noise - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    for channel in standard.double():
        assert abs(stats.kurtosis(channel.flatten().numpy())) < 0.1
        assert abs(stats.skew(channel.flatten().numpy())) < 0.05
    among = torch.corrcoef(
        torch.stack([*standard.flatten(1), standard[0].roll(1, 1).flatten(), standard[0].roll(1, 0).flatten()])
    )
    assert (among - torch.eye(5)).abs().max() < 0.03


def test_no_two_images_get_the_same_noise_nor_does_one_in_two_epochs() -> None:
    images = torch.zeros(40, 3, 16, 16, dtype=torch.uint8)
    erase = RandomErasing(prob=1.0, area=(0.99, 1.0), ratio=(1.0, 1.0))
    results = torch.cat([erase.change(images, make_dice(40, epoch)) for epoch in (0, 1)])
    assert len({image.numpy().tobytes() for image in results}) == 80


def test_erasing_happens_as_often_as_asked_and_where_no_box_fits_never() -> None:
    images = torch.zeros(2000, 3, 20, 20, dtype=torch.uint8)
    for prob in (0.0, 0.25, 1.0):
        erased = RandomErasing(prob=prob, mode="const").change(images, make_dice(2000)).flatten(1).any(1)
        assert abs(float(erased.float().mean()) - prob) < (0.04 if 0 < prob < 1 else 1e-9)
    tall = torch.zeros(9, 3, 400, 1, dtype=torch.uint8)
    never = RandomErasing(prob=1.0, area=(0.9, 1.0), ratio=(1.0, 1.0)).change(tall, make_dice(9))
    assert torch.equal(never, tall)

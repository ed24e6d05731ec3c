"""Random crops and resizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from vit_cli.augment.crops import RandomCrop, RandomResizedCrop, Resize, find_middle
from vit_cli.augment.dice import Dice
from vit_cli.augment.draws import Box, fit_box
from vit_cli.errors import RecipeError
from vit_cli.keys import image_keys
from vit_cli.section import Grid


def make_image(h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def draw(sizer: Any, count: int) -> Any:
    return sizer.draw(Dice(image_keys(0, np.zeros(count, dtype=np.int64), np.arange(count))))


def look(sizer: Any, image: Tensor, drawn: Any) -> Tensor:
    return sizer.look(*image.shape[1:], drawn).take(image)


def test_random_resized_crop_is_torchvisions_crop_and_resize_of_the_box() -> None:
    image, res = make_image(60, 90), Grid(24, 32)
    sizer = RandomResizedCrop(scale=(0.05, 1.0)).build(res)
    for drawn in draw(sizer, 30).tolist():
        box = fit_box(60, 90, drawn)
        assert box is not None
        theirs = v2.functional.resized_crop(image, *box, list(res), v2.InterpolationMode.BICUBIC)
        assert torch.equal(look(sizer, image, drawn), theirs)


def test_a_crop_needs_no_row_below_its_box_and_the_whole_so_large_that_the_box_covers_the_resolution() -> None:
    sizer = RandomResizedCrop().build(Grid(32, 48))
    for drawn in draw(sizer, 50).tolist():
        box = fit_box(600, 800, drawn)
        seen = sizer.look(600, 800, drawn)
        assert box is not None
        assert seen.bottom == box.top + box.rows
        assert seen.least.rows / 600 * box.rows >= 32
        assert seen.least.columns / 800 * box.columns >= 48
        assert torch.equal(seen.take(make_image(600, 800)), seen.take(make_image(600, 800)[:, : seen.bottom]))


def test_a_crop_of_a_picture_decoded_at_half_its_size_shows_the_same_part() -> None:
    ramp = torch.linspace(0, 255, 400).expand(300, 400)
    whole = torch.stack([ramp, ramp.flip(1), torch.linspace(0, 255, 300)[:, None].expand(300, 400)]).to(torch.uint8)
    half = v2.functional.resize(whole, [150, 200])
    sizer = RandomResizedCrop(scale=(0.3, 1.0)).build(Grid(32, 32))
    for drawn in draw(sizer, 30).tolist():
        seen = sizer.look(300, 400, drawn)
        assert (seen.take(whole).float() - seen.take(half).float()).abs().max() <= 4


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("item", [RandomResizedCrop, RandomCrop, Resize])
def test_many_at_once_are_as_one_by_one(item: Any, interpolation: str) -> None:
    images = torch.stack([make_image(40, 56, seed) for seed in range(12)])
    sizer = item(interpolation=interpolation).build(Grid(32, 32))
    drawn = draw(sizer, 12)
    alone = torch.stack([look(sizer, image, row) for image, row in zip(images, drawn.tolist(), strict=True)])
    assert torch.equal(sizer.take_all(images, drawn), alone)


def test_where_no_part_has_an_allowed_ratio_the_largest_middle_one_is_taken() -> None:
    assert find_middle(100, 1000, (0.75, 1.5)) == Box(0, 425, 100, 150)
    assert find_middle(1000, 100, (0.5, 1.5)) == Box(400, 0, 200, 100)
    assert find_middle(1, 1, (0.1, 0.3)) == Box(0, 0, 1, 1)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_random_crop_equals_torchvisions_up_to_the_place(mode: str) -> None:
    image = make_image(8, 8)
    padded = v2.functional.pad(image, [2], padding_mode=mode)
    windows = {(y, x): padded[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)}
    crop = RandomCrop(padding=2, padding_mode=mode).build(Grid(8, 8))
    seen = set()
    for drawn in draw(crop, 200).tolist():
        result = look(crop, image, drawn)
        seen |= {place for place, window in windows.items() if torch.equal(window, result)}
    assert seen == set(windows)


def test_random_crop_resizes_the_short_side_first() -> None:
    image = make_image(30, 60)
    resized = v2.functional.resize(image, [20], interpolation=v2.InterpolationMode.BICUBIC)
    crop = RandomCrop(padding=0, crop=0.8).build(Grid(16, 16))
    result = look(crop, image, draw(crop, 1)[0])
    assert any(
        torch.equal(result, resized[:, y : y + 16, x : x + 16]) for y in range(5) for x in range(resized.shape[2] - 15)
    )


def test_a_padding_that_cannot_be_reflected_is_refused_when_built() -> None:
    with pytest.raises(RecipeError, match="reflect 8 pixels of an image of 8x16"):
        RandomCrop(padding=8, padding_mode="reflect").build(Grid(8, 16))


def test_resize_equals_torchvisions() -> None:
    image = make_image(30, 47)
    bicubic = v2.InterpolationMode.BICUBIC
    short = v2.Compose([v2.Resize(20, interpolation=bicubic), v2.CenterCrop(16)])
    squash = v2.Resize((16, 20), interpolation=bicubic)
    assert torch.equal(Resize(crop=0.8).build(Grid(16, 16))(image), short(image))
    assert torch.equal(Resize(mode="squash").build(Grid(16, 20))(image), squash(image))

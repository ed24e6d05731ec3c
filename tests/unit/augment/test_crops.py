"""Random crops and resizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from vit_cli.augment.crops import RandomCrop, RandomResizedCrop, Resize, find_middle
from vit_cli.augment.draws import Box, draw_box
from vit_cli.errors import RecipeError
from vit_cli.section import Grid


def make_image(h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_random_resized_crop_equals_torchvisions_with_the_same_seed() -> None:
    ours = RandomResizedCrop(scale=(0.05, 1.0)).build(Grid(24, 32))
    theirs = v2.RandomResizedCrop((24, 32), scale=(0.05, 1.0), interpolation=v2.InterpolationMode.BICUBIC)
    for seed in range(30):
        results = []
        for transform in (ours, theirs):
            torch.manual_seed(seed)
            results.append(transform(make_image(60, 90)))
        assert torch.equal(*results)


def test_the_share_of_the_area_is_even_over_its_range_and_the_ratio_within() -> None:
    torch.manual_seed(0)
    boxes = [draw_box(400, 400, (0.1, 0.5), (0.5, 2.0)) for _ in range(2000)]
    areas = torch.tensor([box.rows * box.columns / 160000 for box in boxes if box])
    ratios = torch.tensor([box.columns / box.rows for box in boxes if box])
    assert len(areas) == 2000
    assert 0.099 < areas.min() < 0.11
    assert 0.49 < areas.max() < 0.503
    assert abs(areas.mean() - 0.3) < 0.01
    assert ratios.min() > 0.49
    assert ratios.max() < 2.02
    assert abs(ratios.log().mean()) < 0.03


def test_a_box_never_leaves_the_image() -> None:
    torch.manual_seed(0)
    for _ in range(500):
        box = draw_box(7, 9, (0.05, 1.0), (0.3, 3.0))
        assert box is None or (box.top + box.rows <= 7 and box.left + box.columns <= 9 and min(box[:2]) >= 0)


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
    torch.manual_seed(0)
    seen = set()
    for _ in range(200):
        result = crop(image)
        seen |= {place for place, window in windows.items() if torch.equal(window, result)}
    assert seen == set(windows)


def test_random_crop_resizes_the_short_side_first() -> None:
    image = make_image(30, 60)
    resized = v2.functional.resize(image, [20], interpolation=v2.InterpolationMode.BICUBIC)
    result = RandomCrop(padding=0, crop=0.8).build(Grid(16, 16))(image)
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

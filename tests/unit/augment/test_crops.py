"""Random crops and resizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from vit_cli.augment.crops import Box, RandomCrop, RandomResizedCrop, Resize, find_middle, pick_box
from vit_cli.errors import RecipeError
from vit_cli.section import Grid


def make_image(h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def even(count: int, seed: int = 0) -> list[list[float]]:
    """Numbers from 0 to 1 for so many images."""
    return np.random.default_rng(seed).random((count, 40)).tolist()


def look(sizer: Any, image: Tensor, numbers: Sequence[float] = ()) -> Tensor:
    return sizer.look(*image.shape[1:], numbers).take(image)


def share_of_area(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    return boxes[:, 2] * boxes[:, 3] / 5400


def log_ratio(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.log(boxes[:, 3] / boxes[:, 2])


def top(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    return boxes[:, 0] / 60


def left(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    return boxes[:, 1] / 90


def test_random_resized_crop_is_torchvisions_crop_and_resize_of_the_box() -> None:
    image, res = make_image(60, 90), Grid(24, 32)
    sizer = RandomResizedCrop(scale=(0.05, 1.0)).build(res)
    for numbers in even(30):
        box = pick_box(60, 90, (0.05, 1.0), (3 / 4, 4 / 3), numbers)
        assert box is not None
        theirs = v2.functional.resized_crop(image, *box, list(res), v2.InterpolationMode.BICUBIC)
        assert torch.equal(look(sizer, image, numbers), theirs)


def test_boxes_are_distributed_as_torchvisions() -> None:
    """Compare quantiles of the area, the ratio and the place over many draws from different generators."""
    torch.manual_seed(0)
    image, crop = make_image(60, 90), v2.RandomResizedCrop(8, (0.08, 1.0))
    theirs = np.array([list(crop.make_params([image]).values()) for _ in range(4000)])
    drawn = (pick_box(60, 90, (0.08, 1.0), (3 / 4, 4 / 3), numbers) for numbers in even(4000))
    ours = np.array([box or find_middle(60, 90, (3 / 4, 4 / 3)) for box in drawn])
    for measure in (share_of_area, log_ratio, top, left):
        quantiles = [np.quantile(measure(boxes), [0.05, 0.25, 0.5, 0.75, 0.95]) for boxes in (ours, theirs)]
        np.testing.assert_allclose(*quantiles, atol=0.035)


def test_the_share_of_the_area_is_even_over_its_range_and_the_ratio_within() -> None:
    boxes = [pick_box(400, 400, (0.1, 0.5), (0.5, 2.0), numbers) for numbers in even(2000)]
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
    for numbers in even(500):
        box = pick_box(7, 9, (0.05, 1.0), (0.3, 3.0), numbers)
        assert box is None or (box.top + box.rows <= 7 and box.left + box.columns <= 9 and min(box[:2]) >= 0)


def test_a_crop_needs_no_row_below_its_box_and_the_whole_so_large_that_the_box_covers_the_resolution() -> None:
    sizer = RandomResizedCrop().build(Grid(32, 48))
    for numbers in even(50):
        box = pick_box(600, 800, (0.08, 1.0), (3 / 4, 4 / 3), numbers)
        seen = sizer.look(600, 800, numbers)
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
    for numbers in even(30):
        seen = sizer.look(300, 400, numbers)
        assert (seen.take(whole).float() - seen.take(half).float()).abs().max() <= 4


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("item", [RandomResizedCrop, RandomCrop, Resize])
def test_many_at_once_are_as_one_by_one(item: Any, interpolation: str) -> None:
    images = torch.stack([make_image(40, 56, seed) for seed in range(12)])
    sizer, numbers = item(interpolation=interpolation).build(Grid(32, 32)), even(12)
    drawn = [row[: sizer.draws] for row in numbers]
    alone = torch.stack([look(sizer, image, row) for image, row in zip(images, drawn, strict=True)])
    assert torch.equal(sizer.take_all(images, np.array(drawn)), alone)


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
    for numbers in even(200):
        result = look(crop, image, numbers)
        seen |= {place for place, window in windows.items() if torch.equal(window, result)}
    assert seen == set(windows)


def test_random_crop_resizes_the_short_side_first() -> None:
    image = make_image(30, 60)
    resized = v2.functional.resize(image, [20], interpolation=v2.InterpolationMode.BICUBIC)
    result = look(RandomCrop(padding=0, crop=0.8).build(Grid(16, 16)), image, even(1)[0])
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

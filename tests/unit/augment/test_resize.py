"""Resizing gives torch's bits in the layout that costs least."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from vit_cli.augment.resize import Interpolation, resize
from vit_cli.section import Grid


def make_pixels() -> Tensor:
    return torch.randint(0, 256, (60, 90, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("part", [(slice(None), slice(None)), (slice(7, 47), slice(11, 80)), (slice(5), slice(3, 4))])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_any_layout_is_resized_to_the_same_bits(part: tuple[slice, slice], interpolation: Interpolation) -> None:
    side_by_side = make_pixels().permute(2, 0, 1)[:, part[0], part[1]]
    planes = side_by_side.contiguous()
    expected = nnf.interpolate(planes[None], (24, 32), mode=interpolation, antialias=True)[0]
    assert torch.equal(resize(side_by_side, Grid(24, 32), interpolation), expected)
    assert torch.equal(resize(planes, Grid(24, 32), interpolation), expected)


@pytest.mark.parametrize("part", [slice(None), slice(7, 47)])
def test_colours_that_lie_side_by_side_stay_so(part: slice) -> None:
    resized = resize(make_pixels().permute(2, 0, 1)[:, :, part], Grid(24, 32), "bicubic")
    assert resized.stride() == (1, 3 * 32, 3)

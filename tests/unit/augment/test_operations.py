"""Every operation at every strength does to each image what torchvision's does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vit_cli.augment.dice import Dice
from vit_cli.augment.geometry import Paint, Sampling
from vit_cli.augment.operations import (
    KINDS,
    OPERATIONS,
    SIGNED,
    Reach,
    apply_operations,
    draw_kinds,
    draw_signs,
    draw_strengths,
)
from vit_cli.augment.policies import WIDE
from vit_cli.keys import image_keys

H, W = 40, 52
FILL: dict[Sampling, float | None] = {"nearest": 50.0, "bilinear": None}  # None is 0; with a fill it darkens the border


def make_image() -> Tensor:
    """A smooth image: on noise, a rounding that picks the neighbour would look like a mistake."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, H), torch.linspace(0, 4, W), indexing="ij")
    waves = torch.stack([(rows + columns).sin(), (rows - columns).cos(), (rows * columns).sin()])
    return (127.5 + 120 * waves).to(torch.uint8)


def do_as_torchvision(image: Tensor, kind: str, strength: float, reach: Reach, sampling: Sampling) -> Tensor:
    """Call torchvision's function for an operation, with the parameters of its AutoAugment classes."""
    mode, fill = F.InterpolationMode(sampling), FILL[sampling]
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "interpolation": mode, "fill": fill}
    lean = math.degrees(math.atan(strength * reach.shear))
    across, down = (
        int(strength * reach.translate * (side if reach.translate_unit == "side" else 1)) for side in (W, H)
    )
    factor, (most, least) = 1 + strength * reach.enhance, reach.bits
    calls = {
        "identity": lambda: image,
        "shear_x": lambda: F.affine(image, **{**still, "shear": [lean, 0.0]}, center=[0, 0]),
        "shear_y": lambda: F.affine(image, **{**still, "shear": [0.0, lean]}, center=[0, 0]),
        "translate_x": lambda: F.affine(image, **{**still, "translate": [across, 0]}),
        "translate_y": lambda: F.affine(image, **{**still, "translate": [0, down]}),
        "rotate": lambda: F.rotate(image, strength * reach.rotate, interpolation=mode, fill=fill),
        "brightness": lambda: F.adjust_brightness(image, factor),
        "color": lambda: F.adjust_saturation(image, factor),
        "contrast": lambda: F.adjust_contrast(image, factor),
        "sharpness": lambda: F.adjust_sharpness(image, factor),
        "posterize": lambda: F.posterize(image, round(most - strength * (most - least))),
        "solarize": lambda: F.solarize(image, 255 * (1 - strength)),
        "auto_contrast": lambda: F.autocontrast(image),
        "equalize": lambda: F.equalize(image),
        "invert": lambda: F.invert(image),
    }
    return calls[kind]()


@pytest.mark.parametrize("sampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("reach", [Reach(), WIDE])
def test_a_batch_of_all_operations_is_what_torchvision_makes_one_by_one(reach: Reach, sampling: Sampling) -> None:
    cases = [
        (kind, strength * sign)
        for kind in KINDS
        for strength in (0.0, 0.31, 0.77, 1.0)
        for sign in ((1, -1) if SIGNED[KINDS.index(kind)] else (1,))
    ]
    np.random.default_rng(0).shuffle(cases := np.array(cases, dtype=object))
    kinds = np.array([KINDS.index(kind) for kind in cases[:, 0]])
    image = make_image()
    ours = apply_operations(
        image.expand(len(cases), -1, -1, -1).contiguous(),
        kinds,
        cases[:, 1].astype(np.float64),
        reach,
        Paint(sampling, int(FILL[sampling] or 0)),
    )
    for changed, (kind, strength) in zip(ours, cases, strict=True):
        expected = do_as_torchvision(image, kind, strength, reach, sampling)
        apart = (changed.int() - expected.int()).abs()
        moves = kind in KINDS[1:6]
        # What moves may be read one pixel off where it lies between two, and be torn at the border to the fill.
        assert (apart > (3 if moves else 1)).any(0).float().mean() < (0.02 if moves else 1e-9), (kind, strength)


def make_dice(count: int = 6000) -> Dice:
    return Dice(image_keys(0, np.zeros(count, np.int64), np.arange(count)))


def test_each_operation_is_drawn_as_often() -> None:
    kinds = draw_kinds(OPERATIONS, make_dice())
    assert stats.chisquare(np.bincount(kinds, minlength=len(OPERATIONS))).pvalue > 1e-3
    assert set(draw_kinds(("rotate", "invert"), make_dice(50)).tolist()) == {
        KINDS.index("rotate"),
        KINDS.index("invert"),
    }


def test_only_operations_with_two_ways_go_both_and_as_often() -> None:
    dice = make_dice()
    kinds = draw_kinds(KINDS, dice)
    signs = draw_signs(kinds, dice)
    assert (signs[~SIGNED[kinds]] == 1).all()
    share = (signs[SIGNED[kinds]] == -1).mean()
    assert abs(share - 0.5) < 0.03
    two_ways = {
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
        "rotate",
        "brightness",
        "color",
        "contrast",
        "sharpness",
    }
    assert {kind for kind, signed in zip(KINDS, SIGNED, strict=True) if signed} == two_ways


def test_strengths_are_the_first_of_even_steps_to_one() -> None:
    dice = make_dice()
    kinds = np.full(len(dice), KINDS.index("rotate"))
    strengths = draw_strengths(kinds, 4, 11, dice)
    assert stats.chisquare(np.bincount(np.rint(10 * np.abs(strengths)).astype(int), minlength=4)).pvalue > 1e-3
    np.testing.assert_allclose(np.unique(np.abs(strengths)), [0, 0.1, 0.2, 0.3])
    assert draw_strengths(kinds, 31, 31, dice).max() == 1

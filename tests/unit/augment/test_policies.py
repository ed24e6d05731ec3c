"""RandAugment, TrivialAugment, AutoAugment and AugMix draw and do what torchvision's do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from vit_cli.augment.autoaugment import POLICIES, AutoAugment
from vit_cli.augment.policies import AugMix, RandAugment, TrivialAugment
from vit_cli.section import Grid

RES = Grid(1, 1)
BILINEAR = v2.InterpolationMode.BILINEAR


def make_image(h: int, w: int) -> Tensor:
    """A smooth image: on noise, a rounding that picks the neighbour would look like a mistake."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, h), torch.linspace(0, 4, w), indexing="ij")
    waves = torch.stack([(rows + columns).sin(), (rows - columns).cos(), (rows * columns).sin()])
    return (127.5 + 120 * waves).to(torch.uint8)


def check_same(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], seeds: int) -> None:
    """Allow for a few pixels that rounding takes from the neighbour, in few results."""
    image, apart = make_image(40, 52), []
    for seed in range(seeds):
        results = []
        for transform in (ours, theirs):
            torch.manual_seed(seed)
            results.append(transform(image).int())
        apart.append(float(((results[0] - results[1]).abs() > 6).float().mean()))
    assert max(apart) < 0.1
    assert sum(apart) / seeds < 0.005


@pytest.mark.parametrize(("magnitude", "bins"), [(9, 31), (10, 11), (0, 31)])
def test_randaugment_equals_torchvisions_with_the_same_seed(magnitude: int, bins: int) -> None:
    ours = RandAugment(ops=2, magnitude=magnitude, bins=bins).build(RES)
    check_same(ours, v2.RandAugment(2, magnitude, bins), seeds=80)


def test_trivial_augment_equals_torchvisions_with_the_same_seed() -> None:
    check_same(TrivialAugment().build(RES), v2.TrivialAugmentWide(), seeds=80)
    ours = TrivialAugment(interpolation="bilinear").build(RES)
    check_same(ours, v2.TrivialAugmentWide(interpolation=BILINEAR), seeds=80)


@pytest.mark.parametrize("policy", list(POLICIES))
def test_auto_augment_equals_torchvisions_with_the_same_seed(policy: str) -> None:
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))
    check_same(AutoAugment(policy=policy).build(RES), theirs, seeds=100)


@pytest.mark.parametrize(("severity", "width", "depth"), [(3, 3, None), (10, 2, 2)])
def test_augmix_equals_torchvisions_with_the_same_seed(severity: int, width: int, depth: int | None) -> None:
    ours = AugMix(severity=severity, width=width, depth=depth).build(RES)
    check_same(ours, v2.AugMix(severity, width, depth or -1), seeds=40)


def test_randaugment_leaves_operations_out_as_often_as_asked() -> None:
    image = make_image(12, 12)
    assert torch.equal(RandAugment(prob=0.0).build(RES)(image), image)
    torch.manual_seed(0)
    full, half = (
        sum(not torch.equal(RandAugment(ops=1, prob=prob).build(RES)(image), image) for _ in range(1500)) / 1500
        for prob in (1.0, 0.5)
    )
    assert abs(half - full / 2) < 0.05


def test_no_operations_change_nothing() -> None:
    image = make_image(12, 12)
    assert torch.equal(RandAugment(ops=0).build(RES)(image), image)

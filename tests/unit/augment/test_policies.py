"""RandAugment, TrivialAugment, AutoAugment and AugMix: what they draw, and that torchvision's draw alike."""

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from vit_cli.augment.autoaugment import POLICIES, AutoAugment
from vit_cli.augment.dice import Dice
from vit_cli.augment.geometry import Paint
from vit_cli.augment.operations import KINDS, OPERATIONS, SIGNED, Reach, apply_operations
from vit_cli.augment.policies import AugMix, RandAugment, TrivialAugment, draw_weights
from vit_cli.augment.same_size import SameSize
from vit_cli.keys import image_keys

pytestmark = pytest.mark.slow

COUNT = 400


def make_image(h: int = 24, w: int = 32) -> Tensor:
    """A bright and lopsided image, of which no operation makes what another makes of it."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, h), torch.linspace(0, 4, w), indexing="ij")
    waves = torch.stack([(rows + columns).sin(), (rows - columns).cos(), (rows * columns).sin()])
    return (140 + 80 * waves).to(torch.uint8)


def make_dice(count: int = COUNT) -> Dice:
    return Dice(image_keys(0, np.zeros(count, np.int64), np.arange(count)))


def change_many(transform: SameSize, count: int = COUNT) -> Tensor:
    return transform.change(make_image().expand(count, -1, -1, -1), make_dice(count))


def measure(images: Tensor) -> np.ndarray:
    """Give numbers that colours, sharpness and motion show in: (5, b)."""
    wide = images.float()
    left, top = wide[..., :16].mean((1, 2, 3)), wide[..., :12, :].mean((1, 2, 3))
    edges = wide.diff(dim=-1).abs().mean((1, 2, 3))
    return torch.stack([wide.mean((1, 2, 3)), wide.std((1, 2, 3)), left, top, edges]).numpy()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (RandAugment(ops=2, magnitude=9), v2.RandAugment(2, 9)),
        (RandAugment(ops=1, magnitude=10, bins=11), v2.RandAugment(1, 10, 11)),
        (TrivialAugment(), v2.TrivialAugmentWide()),
        (AutoAugment(policy="imagenet"), v2.AutoAugment(v2.AutoAugmentPolicy("imagenet"))),
    ],
)
def test_results_are_distributed_as_torchvisions(ours: SameSize, theirs: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    expected = torch.stack([theirs(make_image()) for _ in range(COUNT)])
    for one, other in zip(measure(change_many(ours)), measure(expected), strict=True):
        # Values that rounding keeps a hair apart are the same value.
        assert stats.ks_2samp(one.round(0), other.round(0)).pvalue > 1e-3


def test_augmix_is_distributed_as_torchvisions_which_drops_fractions() -> None:
    torch.manual_seed(0)
    theirs, count = v2.AugMix(severity=10, mixture_width=2, alpha=0.5), 200
    expected = measure(torch.stack([theirs(make_image()) for _ in range(count)]))
    expected[[0, 2, 3]] += 0.5
    ours = measure(change_many(AugMix(severity=10, width=2, alpha=0.5), count))
    for one, other in zip(ours, expected, strict=True):
        assert stats.ks_2samp(one, other).pvalue > 1e-3


def test_randaugment_does_each_operation_each_way_as_often() -> None:
    strength, count = 9 / 30, 4000
    cases = [(kind, sign) for kind in range(len(OPERATIONS)) for sign in ((1, -1) if SIGNED[kind] else (1,))]
    kinds, signs = (np.array(column) for column in zip(*cases, strict=True))
    images = make_image().expand(len(cases), -1, -1, -1).contiguous()
    known = {
        image.numpy().tobytes(): place
        for place, image in enumerate(apply_operations(images, kinds, signs * strength, Reach(), Paint("nearest", 0)))
    }
    assert len(known) == len(cases)
    places = [known[image.numpy().tobytes()] for image in change_many(RandAugment(ops=1), count)]
    expected = count / len(OPERATIONS) / np.where(SIGNED[kinds], 2, 1)
    assert stats.chisquare(np.bincount(places, minlength=len(cases)), expected).pvalue > 1e-3


def test_randaugment_leaves_operations_out_as_often_as_asked() -> None:
    image = make_image()
    assert torch.equal(change_many(RandAugment(prob=0.0)), image.expand(COUNT, -1, -1, -1))
    full, half = (
        float((change_many(RandAugment(ops=1, prob=prob), 2000) != image).flatten(1).any(1).float().mean())
        for prob in (1.0, 0.5)
    )
    assert abs(full - 13 / 14) < 0.03
    assert abs(half - full / 2) < 0.05
    assert torch.equal(change_many(RandAugment(ops=0)), image.expand(COUNT, -1, -1, -1))


def test_the_learned_policies_are_torchvisions() -> None:
    def rename(operation: str, prob: float, ninths: int | None) -> tuple[str, float, int]:
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation)
        return words[1:], prob, ninths or 0

    for policy, pairs in POLICIES.items():
        theirs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
        assert pairs == tuple(tuple(starmap(rename, pair)) for pair in theirs)
        assert all(operation in KINDS for pair in pairs for operation, _, _ in pair)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 3.0])
def test_the_weights_of_augmix_are_of_a_beta_and_a_dirichlet_distribution(alpha: float) -> None:
    own, *others = draw_weights(alpha, 3, make_dice(1500)).T
    np.testing.assert_allclose(own + sum(others), 1)
    assert stats.kstest(own, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    for other in others:
        assert stats.kstest(other / (1 - own), stats.beta(alpha, 2 * alpha).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(own, others[0] / (1 - own))[0, 1]) < 0.12

"""Mixup and cutmix of batches: laws of targets, shares, positions and distributions."""

from __future__ import annotations

import itertools

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from vit_cli.augment.mix import Mix, Mixer, NoMix, mix_group
from vit_cli.section import Duration

FOREVER = 10**9
BATCHES = [1, 2, 3, 7, 8, 25]
BOTH = Mix(mixup=0.8, cutmix=1.0, prob=0.9)


def build(mix: Mix, batch_size: int, classes: int = 5, seed: int = 0, until_step: int = FOREVER) -> Mixer:
    mixer = mix.build(seed, classes, batch_size, mix_group(batch_size), until_step)
    assert isinstance(mixer, Mixer)
    return mixer


def make_batch(size: int, classes: int = 5, h: int = 12, w: int = 20) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, h, w, generator=random), torch.randint(0, classes, (size,), generator=random)


def mix_numbers(mix: Mix, size: int, h: int = 12, w: int = 20, step: int = 3) -> tuple[Tensor, Tensor]:
    """Mix images that are plain 0, 1, 2, ...: own number everywhere, and class number alike."""
    numbers = torch.arange(size)
    images = numbers.view(-1, 1, 1, 1).expand(-1, 3, h, w).float()
    return build(mix, size, classes=size)(images, numbers, step, 0)


def test_groups_are_pairs_or_the_smallest_odd_divisor() -> None:
    sizes = {1: 1, 2: 2, 3: 3, 7: 7, 8: 2, 9: 3, 25: 5, 35: 5, 49: 7, 1024: 2}
    assert {size: mix_group(size) for size in sizes} == sizes


@pytest.mark.parametrize("size", BATCHES)
def test_targets_add_up_to_one_and_nothing_given_is_changed(size: int) -> None:
    images, labels = make_batch(size)
    before = images.clone(), labels.clone()
    mixed, targets = build(BOTH, size)(images, labels, 0, 0)
    assert mixed.shape == images.shape
    assert targets.shape == (size, 5)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(size), rtol=0, atol=1e-6)
    assert targets.min() >= 0
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize("size", [2, 3, 7, 8, 25])
@pytest.mark.parametrize("mix", [Mix(mixup=0.8), Mix(cutmix=1.0), BOTH])
def test_each_target_is_the_share_of_its_image(mix: Mix, size: int) -> None:
    images, targets = mix_numbers(mix, size)
    torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(size).float(), rtol=0, atol=1e-4)


def test_mixup_of_plain_images_recovers_lambda_everywhere() -> None:
    images, targets = mix_numbers(Mix(mixup=1.0), 2)
    lam = targets.diagonal()
    torch.testing.assert_close(images[0], torch.full((3, 12, 20), float(1 - lam[0])))
    torch.testing.assert_close(images[1], torch.full((3, 12, 20), float(lam[1])))


def test_cutmix_puts_one_rectangle_of_the_partner_in_and_its_label_share_is_exact() -> None:
    images, targets = mix_numbers(Mix(cutmix=1.0), 64)
    group = torch.arange(64).view(-1, 2).flip(1).view(-1)
    for image, target, own, partner in zip(images, targets, torch.arange(64), group, strict=True):
        foreign = image[0] == partner
        assert torch.equal(image[0], torch.where(foreign, partner, own).float())
        assert torch.equal(image[0], image[2])
        torch.testing.assert_close(target[partner], foreign.float().mean(), rtol=0, atol=1e-6)
        if foreign.any():
            rows, columns = foreign.nonzero().unbind(1)
            assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == foreign.sum()


@pytest.mark.parametrize("size", [2, 3, 7, 8, 25])
def test_partners_stay_in_their_group_and_nobody_is_left_alone(size: int) -> None:
    _, targets = mix_numbers(Mix(mixup=1.0), size)
    group = mix_group(size)
    for position in range(size):
        start = position // group * group
        partner = start + (position - start + 1) % group
        assert set(targets[position].nonzero().flatten().tolist()) == {position, partner}


@pytest.mark.parametrize("size", [2, 3, 8, 25, 30])
def test_slices_put_together_equal_one_call(size: int) -> None:
    (images, labels), mixer, group = make_batch(size), build(BOTH, size), mix_group(size)
    whole = mixer(images, labels, 11, 0)
    for cut in range(group, size + 1, group):  # processes and micro batches alike: contiguous slices of whole groups
        slices = [slice(first, first + cut) for first in range(0, size, cut)]
        parts = [mixer(images[part], labels[part], 11, part.start) for part in slices]
        assert torch.equal(torch.cat([part[0] for part in parts]), whole[0])
        assert torch.equal(torch.cat([part[1] for part in parts]), whole[1])


def test_a_slice_that_splits_a_group_is_refused() -> None:
    images, labels = make_batch(4)
    mixer = build(BOTH, 8)
    with pytest.raises(ValueError, match="whole groups of 2"):
        mixer(images, labels, 0, 1)
    with pytest.raises(ValueError, match="whole groups of 2"):
        mixer(images[:3], labels[:3], 0, 0)
    with pytest.raises(ValueError, match="whole groups of 2"):
        mixer(images, labels, 0, 6)
    with pytest.raises(ValueError, match="does not divide"):
        BOTH.build(0, 5, 9, 2, FOREVER)


def test_seed_and_step_alone_decide() -> None:
    images, labels = make_batch(8)
    results = {
        (seed, step): build(BOTH, 8, seed=seed)(images, labels, step, 0)[0] for seed in (0, 1) for step in (0, 1)
    }
    torch.manual_seed(99)
    assert torch.equal(build(BOTH, 8, seed=1)(images, labels, 1, 0)[0], results[1, 1])
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(results.values(), 2))


def test_mixing_draws_nothing_from_torchs_generator() -> None:
    images, labels = make_batch(8)
    state = torch.get_rng_state()
    build(BOTH, 8)(images, labels, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("mix", [Mix(), Mix(mixup=0.8, cutmix=1.0, prob=0.0)])
def test_mixing_that_is_off_hands_the_batch_through(mix: Mix) -> None:
    images, labels = make_batch(7)
    off = mix.build(0, 5, 7, 7, FOREVER)
    assert isinstance(off, NoMix)
    mixed, targets = off(images, labels, 0, 0)
    assert mixed is images
    assert targets is labels


def test_from_the_last_step_on_images_stay_and_targets_are_one_hot() -> None:
    images, labels = make_batch(8)
    mixer = build(BOTH, 8, until_step=5)
    assert not torch.equal(mixer(images, labels, 4, 0)[0], images)
    for step in (5, 6, 1000):
        mixed, targets = mixer(images, labels, step, 0)
        assert torch.equal(mixed, images)
        assert torch.equal(targets, torch.nn.functional.one_hot(labels, 5).float())


def test_lambda_follows_its_beta_distribution() -> None:
    for alpha in (0.2, 0.8, 2.0):
        lam = build(Mix(mixup=alpha), 4000).draw(0, 16, 16).keep
        assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_boxes_take_the_area_they_were_drawn_for_unless_clipped() -> None:
    draws = build(Mix(cutmix=1.0), 20000).draw(0, 1000, 1000)
    inside = (draws.top > 0) & (draws.left > 0) & (draws.bottom < 1000) & (draws.right < 1000)
    ratio = (draws.bottom - draws.top)[inside] / 1000
    # Of boxes with sides r = sqrt(1 - lambda), lambda even, those inside have a density like r (1 - r)².
    assert stats.kstest(ratio, lambda r: 6 * r**2 - 8 * r**3 + 3 * r**4).pvalue > 0.01
    assert draws.share.min() >= 0
    assert draws.share.max() <= 1


def test_prob_and_switch_prob_are_the_shares_they_name() -> None:
    draws = build(Mix(mixup=0.8, cutmix=1.0, prob=0.6, switch_prob=0.25), 20000).draw(0, 512, 512)
    cut, mixed = (draws.bottom > draws.top).mean(), (draws.keep < 1).mean()
    assert abs(cut - 0.6 * 0.25) < 0.01
    assert abs(mixed - 0.6 * 0.75) < 0.01


def test_every_image_has_its_own_draws() -> None:
    draws = build(BOTH, 100).draw(0, 100, 100)
    assert len(set(draws.share.tolist())) > 80


def test_until_is_read_as_a_duration_and_alphas_are_not_negative() -> None:
    assert Mix.model_validate({"mixup": 0.2, "until": "90%"}).until == Duration("90%")
    with pytest.raises(ValidationError):
        Mix(mixup=-0.1)


def test_half_precision_images_keep_their_type() -> None:
    images, labels = make_batch(4)
    mixed, targets = build(BOTH, 4)(images.bfloat16(), labels, 0, 0)
    assert mixed.dtype == torch.bfloat16
    assert targets.dtype == torch.float32


def test_rows_of_labels_are_mixed_like_the_shares_of_classes() -> None:
    mixer = Mix(mixup=0.5, cutmix=1.0).build(seed=1, classes=3, batch_size=8, group=2, until_step=9)
    images, labels = torch.rand(8, 3, 4, 4), torch.arange(8) % 3
    rows = torch.randn(8, 3)
    shares = mixer(images, labels, 0, 0)[1]
    one_hot = torch.eye(3)[labels]
    torch.testing.assert_close(mixer(images, one_hot, 0, 0)[1], shares, rtol=0, atol=0)
    both = mixer(images, one_hot + rows, 0, 0)[1]
    torch.testing.assert_close(both, shares + mixer(images, rows, 0, 0)[1])

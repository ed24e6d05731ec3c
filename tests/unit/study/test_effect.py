"""Intervals: against scipy and a worked example."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vit_cli.study.effect import Effect, compare, spread_over_seeds

ZERO = dict.fromkeys([(fold, seed) for fold in range(5) for seed in range(3)], 0.0)


def test_seeds_of_one_fold_give_the_interval_of_a_paired_t_test() -> None:
    ours, theirs = np.random.default_rng(0).normal(90, 1, (2, 6))
    effect = compare({(0, s): x for s, x in enumerate(ours)}, {(0, s): x for s, x in enumerate(theirs)}, 0.2)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert effect is not None
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_folds_give_the_interval_of_nadeau_and_bengio() -> None:
    """Five differences of mean 1 and variance 2.5, a fifth held out: 2.7764 sqrt((1/5 + 1/4) 2.5) = 2.9448."""
    scores = {(fold, 0): float(fold - 1) for fold in range(5)}
    effect = compare(scores, ZERO, 0.2)
    assert effect is not None
    assert effect.difference == 1.0
    assert effect.high == pytest.approx(1 + 2.9448, abs=1e-4)
    assert effect.low == pytest.approx(1 - 2.9448, abs=1e-4)


def test_more_seeds_of_the_same_scores_tell_nothing_new() -> None:
    one = {(fold, 0): float(fold) for fold in range(5)}
    three = {(fold, seed): float(fold) for fold in range(5) for seed in range(3)}
    few, many = compare(one, ZERO, 0.2), compare(three, ZERO, 0.2)
    assert few is not None
    assert few._replace(pairs=15) == many


def test_only_runs_of_both_arms_count() -> None:
    effect = compare({(0, 0): 3.0, (1, 0): 9.0}, {(0, 0): 1.0, (2, 0): 0.0}, 0.2)
    assert effect == Effect(2.0, None, None, 1)
    assert compare({(0, 0): 3.0}, {(1, 0): 3.0}, 0.2) is None


@pytest.mark.parametrize(
    ("low", "high", "is_higher_better", "verdict"),
    [
        (0.1, 2.0, True, "better"),
        (0.1, 2.0, False, "worse"),
        (-2.0, -0.1, True, "worse"),
        (-0.1, 2.0, True, "undecided"),
        (None, None, True, "undecided"),
    ],
)
def test_an_effect_inside_its_interval_is_undecided(
    low: float | None, high: float | None, is_higher_better: bool, verdict: str
) -> None:
    assert Effect(1.0, low, high, 5).verdict(is_higher_better) == verdict


def test_folds_cover_the_truth_about_as_often_as_claimed() -> None:
    """Differences of folds whose common part (shared training images) makes up the share that the correction supposes."""
    random, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        shared, own = random.normal(0, math.sqrt(0.2)), random.normal(0, math.sqrt(0.8), 5)
        effect = compare({(fold, 0): shared + x for fold, x in enumerate(own)}, ZERO, 0.2)
        assert effect is not None
        assert effect.low is not None
        assert effect.high is not None
        hits += effect.low <= 0 <= effect.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_spread_over_seeds_leaves_out_what_folds_differ_in() -> None:
    scores = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 101.0, (1, 1): 103.0}
    assert spread_over_seeds(scores) == pytest.approx(math.sqrt(2))
    assert spread_over_seeds({(0, 0): 1.0, (1, 0): 2.0}) is None


def test_a_run_that_diverged_is_no_verdict_and_no_spread() -> None:
    scores = {(0, 0): math.nan, (0, 1): 1.0, (0, 2): 2.0}
    assert compare(scores, ZERO, 0.2) is None
    assert compare(ZERO, scores, 0.2) is None
    assert spread_over_seeds(scores) == pytest.approx(math.sqrt(0.5))

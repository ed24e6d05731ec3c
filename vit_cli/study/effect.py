"""How much better one arm is than another, with an interval that knows that folds share training images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, stdev, variance
from typing import Literal, NamedTuple

from scipy.special import stdtrit

Cell = tuple[int, int]
"""Fold and seed."""
Scores = Mapping[Cell, float]
Verdict = Literal["better", "worse", "undecided"]
CONFIDENCE = 0.95


class Effect(NamedTuple):
    """The mean difference of two arms, from `low` to `high` with 95 % confidence; None where too few runs tell."""

    difference: float
    low: float | None
    high: float | None
    pairs: int

    def verdict(self, is_higher_better: bool) -> Verdict:
        """Judge: an effect inside its interval is undecided."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.low > 0) == is_higher_better else "worse"


def compare(scores: Scores, reference: Scores, hold_out: float) -> Effect | None:
    """Compare the runs that two arms have on the same fold with the same seed; None if there are none, or one diverged.

    The corrected resampled t-test (Nadeau & Bengio, "Inference for the Generalization Error", 2003, section 3): the
    variance of the mean over K folds is taken as (1/K + h / (1 - h)) times that of the folds, where `hold_out` h is the
    share of a fold, since folds have most of their training images in common. Seeds of one fold share all images, so they
    count as one: their mean is the fold's difference, and there are K - 1 degrees of freedom. With a single fold the seeds
    are the sample, and the interval is about these images only.
    """
    cells = sorted(scores.keys() & reference.keys())
    if not cells:
        return None
    folds: dict[int, list[float]] = {}
    for fold, seed in cells:
        folds.setdefault(fold, []).append(scores[fold, seed] - reference[fold, seed])
    if len(folds) > 1:
        sample, shared = [fmean(values) for values in folds.values()], hold_out / (1 - hold_out)
    else:
        sample, shared = next(iter(folds.values())), 0.0
    mean, count = fmean(sample), len(sample)
    if not math.isfinite(mean):
        return None
    if count < 2:
        return Effect(mean, None, None, len(cells))
    error = math.sqrt((1 / count + shared) * variance(sample))
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return Effect(mean, mean - reach, mean + reach, len(cells))


def spread_over_seeds(scores: Scores) -> float | None:
    """Give the standard deviation of runs that differ in their seed alone, pooled over folds; None without two such runs.

    Runs whose score is no number are left out.
    """
    folds: dict[int, list[float]] = {}
    for (fold, _), score in scores.items():
        if math.isfinite(score):
            folds.setdefault(fold, []).append(score)
    several = [values for values in folds.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    return math.sqrt(sum((len(values) - 1) * stdev(values) ** 2 for values in several) / freedom)

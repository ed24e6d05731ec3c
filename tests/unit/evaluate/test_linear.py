"""The linear probe stands at the optimum of its objective, and chooses the penalty on images it has not learned from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from vit_cli.evaluate.linear import GRID, fit_linear, fit_penalty, hold_fifth

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
LABELS = np.arange(60) % 3
FEATURES = (RANDOM.normal(size=(3, 4))[LABELS] + RANDOM.normal(size=(60, 4))).astype(np.float32)


def standardise(features: NDArray[np.float32]) -> NDArray[np.float64]:
    return (features - features.mean(0, dtype=float)) / (features.std(0, dtype=float) + 1e-5)


def objective(flat: NDArray[np.float64], penalty: float) -> float:
    weights, bias = flat[:12].reshape(4, 3), flat[12:]
    logits = standardise(FEATURES) @ weights + bias
    losses = logsumexp(logits, axis=1) - logits[np.arange(60), LABELS]
    return float(losses.sum() + 0.5 * penalty * (weights**2).sum())


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_the_optimum_is_that_of_another_solver_on_the_written_objective(penalty: float) -> None:
    probe = fit_penalty(FEATURES, LABELS, penalty)
    found = objective(np.concatenate([probe.weights.ravel(), probe.bias]), penalty)
    least = minimize(objective, np.zeros(15), args=(penalty,), method="BFGS").fun
    assert probe.converged
    assert found == pytest.approx(least, rel=1e-5)


def test_the_probe_tells_what_scikit_learns_would_with_the_penalty_that_is_best_on_held_out_images() -> None:
    probe = fit_linear(FEATURES, LABELS)
    held = hold_fifth(LABELS)
    scores = {
        penalty: fit_penalty(FEATURES[~held], LABELS[~held], penalty).predict(FEATURES[held]) == LABELS[held]
        for penalty in GRID
    }
    best = max(right.sum() for right in scores.values())
    assert probe.penalty == max(penalty for penalty, right in scores.items() if right.sum() == best)
    peer = LogisticRegression(C=1 / probe.penalty, max_iter=1000, tol=1e-8).fit(standardise(FEATURES), LABELS)
    np.testing.assert_array_equal(probe.predict(FEATURES), peer.predict(standardise(FEATURES)))


def test_two_classes_are_told_and_one_without_images_is_not() -> None:
    labels = np.where(LABELS == 0, 1, 3)
    peer = LogisticRegression(C=1.0).fit(standardise(FEATURES), labels)
    np.testing.assert_array_equal(
        fit_penalty(FEATURES, labels, 1.0).predict(FEATURES), peer.predict(standardise(FEATURES))
    )
    assert set(peer.predict(standardise(FEATURES))) == {1, 3}


def test_a_fifth_of_each_class_is_held_out_and_never_all_of_it() -> None:
    labels = np.repeat([0, 1, 2, 4], [10, 3, 1, 2])
    held = hold_fifth(labels)
    assert np.bincount(labels[held], minlength=5).tolist() == [2, 1, 0, 0, 1]
    np.testing.assert_array_equal(held, hold_fifth(labels))


def test_single_images_leave_nothing_to_choose_the_penalty_on() -> None:
    with pytest.raises(ValueError, match="no class has two images"):
        fit_linear(FEATURES[:3], LABELS[:3])

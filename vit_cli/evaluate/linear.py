"""A linear probe: logistic regression on frozen features, as CLIP's authors do it (Radford et al., 2021, appendix A.3)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vit_cli.evaluate.fewshot import Labels, Standard, fit_standard, rows_by_class

GRID = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
"""Strengths of the penalty on the squared weights, the whole sum of losses being weighed 1; scikit-learn's C is 1 / strength."""
ITERATIONS = 1000
SHARE = 0.2


class Linear(NamedTuple):
    """What was learned: `weights` (d, K) and `bias` (K,) of standardised features, with the chosen strength of the penalty.

    `converged` is False if the solver would have gone on after `ITERATIONS`.
    """

    standard: Standard
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    penalty: float
    converged: bool

    def predict(self, features: NDArray[np.float32]) -> Labels:
        """(n, d) -> the likeliest class (n,)."""
        return (self.standard(features) @ self.weights + self.bias).argmax(axis=1)


def fit_linear(features: NDArray[np.float32], labels: Labels) -> Linear:
    """Learn from features (n, d) with the strength that is best on a fifth of each class; then from all images.

    Of strengths that are equally good, the strongest is taken. Raises ValueError if no class has two images.
    """
    held = hold_fifth(labels)
    if not held.any():
        raise ValueError("no class has two images, so there is nothing to choose the penalty on")
    rights = []
    for penalty in GRID:
        probe = fit_penalty(features[~held], labels[~held], penalty)
        rights.append(int((probe.predict(features[held]) == labels[held]).sum()))
    best = max(range(len(GRID)), key=lambda place: (rights[place], GRID[place]))
    return fit_penalty(features, labels, GRID[best])


def fit_penalty(features: NDArray[np.float32], labels: Labels, penalty: float) -> Linear:
    """Minimise the sum of cross entropies plus half the squared weights times `penalty`, the bias left free, by L-BFGS."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    standard = fit_standard(features)
    solver = LogisticRegression(C=1 / penalty, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` tells
        solver.fit(standard(features), labels)
    weights, bias = spread(solver.coef_, solver.intercept_, solver.classes_)
    return Linear(standard, weights, bias, penalty, int(solver.n_iter_.max()) < ITERATIONS)


def spread(
    coefficients: NDArray[np.float64], intercepts: NDArray[np.float64], classes: Labels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give weights (d, K) and bias (K,) in which every class has its column, and one without images is never said."""
    if len(coefficients) == 1:  # of two classes scikit-learn tells the second one's alone
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]), np.array([-1, 1]) * intercepts
    weights = np.zeros((coefficients.shape[1], int(classes.max()) + 1))
    bias = np.full(weights.shape[1], -np.inf)
    weights[:, classes], bias[classes] = coefficients.T, intercepts
    return weights, bias


def hold_fifth(labels: Labels) -> NDArray[np.bool_]:
    """Mark a fifth of each class, at least one image and never all of them (n,); always the same ones."""
    random = np.random.default_rng(0)
    held = np.zeros(len(labels), dtype=bool)
    for rows in rows_by_class(labels):
        count = min(max(1, round(SHARE * len(rows))), max(len(rows) - 1, 0))
        held[random.permutation(rows)[:count]] = True
    return held

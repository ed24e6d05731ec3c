"""Few-shot ridge regression on frozen features, in closed form (ViT, section 4.1; big_vision, evaluators/fewshot_lsr.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Numbers = NDArray[np.float32 | np.float64]

L2 = 2.0**10
BIAS = 100.0
"""The constant feature; it is large, so that its weight, the bias, is hardly held down."""
EPSILON = 1e-5
CHUNK = 4096
"""Images that are predicted together."""


class Standard(NamedTuple):
    """What features are brought to: less `mean`, divided by `std`, both (1, d) of the images that are learned from."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __call__(self, features: Numbers) -> NDArray[np.float64]:
        """(n, d) -> (n, d), in float64."""
        return (features - self.mean) / self.std


def fit_standard(features: Numbers) -> Standard:
    """Take mean and deviation of each feature; 1e-5 keeps one that is always the same from becoming infinite."""
    wide = features.astype(np.float64)
    return Standard(wide.mean(axis=0, keepdims=True), wide.std(axis=0, keepdims=True) + EPSILON)


class Ridge(NamedTuple):
    """What was learned: `weights` (d + 1, K) of standardised features and of the constant."""

    standard: Standard
    weights: NDArray[np.float64]

    def scores(self, features: Numbers) -> NDArray[np.float64]:
        """(n, d) -> (n, K), about 1 for the right class and -1 for the others."""
        return add_bias(self.standard(features)) @ self.weights

    def predict(self, features: Numbers) -> Labels:
        """(n, d) -> the class with the highest score (n,)."""
        parts = np.split(features, range(CHUNK, len(features), CHUNK))
        return np.concatenate([self.scores(part).argmax(axis=1) for part in parts])


def fit_ridge(features: Numbers, labels: Labels, classes: int, l2: float = L2) -> Ridge:
    """Learn targets of 1 for the right class and -1 for the others from features (n, d), in float64.

    The smaller of the two Gram matrices, of features or of images, is taken apart into its eigenvectors.
    """
    standard = fit_standard(features)
    x = add_bias(standard(features))
    y = 2.0 * np.eye(classes)[labels] - 1.0
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh(x.T @ x)
        return Ridge(standard, (vectors / (values + l2)) @ (vectors.T @ (x.T @ y)))
    values, vectors = np.linalg.eigh(x @ x.T)
    return Ridge(standard, x.T @ ((vectors / (values + l2)) @ (vectors.T @ y)))


def add_bias(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) -> (n, d + 1), with the constant feature."""
    return np.pad(x, ((0, 0), (0, 1)), constant_values=BIAS)


def draw_shots(labels: Labels, shots: int, seed: int) -> Labels:
    """Give the rows of `shots` images of each class, drawn with `seed`; a class that has fewer gives all.

    Fewer shots with the same seed are the first of these.
    """
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(rows)[:shots] for rows in rows_by_class(labels)])


def rows_by_class(labels: Labels) -> list[Labels]:
    """Give the rows of the images of each class, rising."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])

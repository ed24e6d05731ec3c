"""Few-shot ridge regression equals scikit-learn's, and draws its images as big_vision does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from vit_cli.evaluate.fewshot import CHUNK, draw_shots, fit_ridge


def make_sides(
    images: int, width: int, classes: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Features around one centre a class, a constant one among them, their classes, and features to test on."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = random.normal(size=(classes, width))
    train = (centres[labels] + random.normal(size=(images, width))).astype(np.float32)
    test = random.normal(size=(40, width)).astype(np.float32)
    train[:, 0] = test[:, 0] = 3.0
    return train, labels, test


@pytest.mark.parametrize(("images", "width"), [(90, 12), (12, 90), (13, 12), (12, 12)])
def test_scores_are_those_of_scikit_learns_ridge_on_padded_standardised_features(images: int, width: int) -> None:
    train, labels, test = make_sides(images, width, classes=4)
    mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64) + 1e-5
    x, x_test = (np.hstack([(part - mean) / std, np.full((len(part), 1), 100.0)]) for part in (train, test))
    targets = np.where(labels[:, None] == np.arange(4), 1.0, -1.0)
    expected = Ridge(alpha=1024.0, fit_intercept=False, solver="cholesky").fit(x, targets).predict(x_test)
    probe = fit_ridge(train, labels, classes=4)
    np.testing.assert_allclose(probe.scores(test), expected, atol=1e-8)
    np.testing.assert_array_equal(probe.predict(test), expected.argmax(axis=1))


def test_many_images_are_predicted_in_parts_to_the_same_result() -> None:
    train, labels, test = make_sides(30, 5, classes=3)
    many = np.tile(test, (CHUNK // len(test) + 2, 1))
    probe = fit_ridge(train, labels, classes=3)
    np.testing.assert_array_equal(probe.predict(many), np.tile(probe.predict(test), len(many) // len(test)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shots_are_the_first_of_each_classs_permutation(seed: int) -> None:
    labels = np.random.default_rng(9).integers(0, 5, size=200)
    random = np.random.default_rng(seed)
    permuted = [random.permutation(np.where(labels == label)[0]) for label in range(5)]
    for shots in (1, 5, 10, 1000):
        expected = np.concatenate([rows[:shots] for rows in permuted])
        np.testing.assert_array_equal(draw_shots(labels, shots, seed), expected)


def test_a_class_without_images_changes_no_draw_and_is_never_told() -> None:
    train, labels, test = make_sides(30, 5, classes=3)
    np.testing.assert_array_equal(draw_shots(2 * labels, 4, 0), draw_shots(labels, 4, 0))
    predicted = fit_ridge(train, labels, classes=3).predict(test)
    np.testing.assert_array_equal(fit_ridge(train, 2 * labels, classes=6).predict(test), 2 * predicted)

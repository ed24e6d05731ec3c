"""The votes of neighbours equal a plain double loop, and scikit-learn's classifier with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from vit_cli.evaluate import knn
from vit_cli.evaluate.knn import vote

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
TRAIN, TEST = (RANDOM.normal(size=(images, 6)).astype(np.float32) for images in (150, 30))
LABELS = RANDOM.integers(0, 4, size=150)
NEIGHBOURS = (1, 7, 20, 150)


def count_votes(image: NDArray[np.float32], k: int) -> int:
    """The class of one image, neighbour by neighbour, in float64."""
    cosines = [float(image @ other.astype(float) / np.linalg.norm(image) / np.linalg.norm(other)) for other in TRAIN]
    votes = dict.fromkeys(range(4), 0.0)
    for row in sorted(range(len(TRAIN)), key=lambda row: -cosines[row])[:k]:
        votes[int(LABELS[row])] += float(np.exp(cosines[row] / 0.07))
    return max(votes, key=lambda label: votes[label])


def test_votes_are_those_of_a_double_loop() -> None:
    told = vote(TRAIN, LABELS, TEST, NEIGHBOURS, CPU)
    assert list(told) == list(NEIGHBOURS)
    for k, predicted in told.items():
        assert predicted.tolist() == [count_votes(image.astype(float), k) for image in TEST]


def test_votes_are_those_of_scikit_learn() -> None:
    def weigh(distances: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp((1 - distances) / 0.07)

    for k, predicted in vote(TRAIN, LABELS, TEST, NEIGHBOURS, CPU).items():
        peer = KNeighborsClassifier(k, weights=weigh, metric="cosine", algorithm="brute").fit(TRAIN, LABELS)
        np.testing.assert_array_equal(predicted, peer.predict(TEST))


def test_images_in_parts_are_told_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vote(TRAIN, LABELS, TEST, NEIGHBOURS, CPU)
    monkeypatch.setattr(knn, "CHUNK", 7 * len(TRAIN))
    for k, predicted in vote(TRAIN, LABELS, TEST, NEIGHBOURS, CPU).items():
        np.testing.assert_array_equal(predicted, whole[k])

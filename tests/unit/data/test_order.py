"""The stream of training images, against its definition."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from vit_cli.data.order import Order, Permutation
from vit_cli.keys import derive


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 97, 1000, 65536])
def test_a_permutation_is_one_to_one(n: int) -> None:
    assert sorted(Permutation(n, 5)(np.arange(n)).tolist()) == list(range(n))


def test_a_permutation_of_a_trillion_stays_within_its_range() -> None:
    images = Permutation(2**40, 1)(np.arange(1000))
    assert images.max() < 2**40
    assert len(set(images.tolist())) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4])
def test_every_order_of_few_images_is_equally_likely(n: int) -> None:
    found = Counter(tuple(Permutation(n, key)(np.arange(n)).tolist()) for key in range(600))
    expected = 600 / math.factorial(n)
    chi2 = sum((found[order] - expected) ** 2 / expected for order in permutations(range(n)))
    freedom = math.factorial(n) - 1
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def test_every_image_is_equally_likely_at_every_place() -> None:
    n, keys = 16, 1500
    counts = np.zeros((n, n))
    for key in range(keys):
        counts[np.arange(n), Permutation(n, key)(np.arange(n))] += 1
    chi2, freedom = (((counts - keys / n) ** 2) * n / keys).sum(), (n - 1) ** 2
    assert abs(chi2 - freedom) < 5 * math.sqrt(2 * freedom)


def test_neighbours_in_the_data_are_not_neighbours_in_the_order() -> None:
    order = Permutation(100_000, 3)(np.arange(100_000))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(np.arange(len(order)), order)[0, 1]) < 0.015


def test_a_permutation_takes_no_memory() -> None:
    tracemalloc.start()
    Permutation(2**40, 1)(np.arange(8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(("images", "batch", "repeats"), [(97, 10, 1), (97, 13, 3), (5, 12, 1), (1, 3, 2), (6, 7, 7)])
def test_draws_are_what_the_definition_says(images: int, batch: int, repeats: int) -> None:
    unique = math.ceil(batch / repeats)
    for step in (0, 3, 50):
        draws = Order(images, 7, batch, repeats).draws(step)
        for i in range(batch):
            epoch, place = divmod(step * unique + i % unique, images)
            expected = Permutation(images, derive("order", 7, epoch))(np.array([place]))[0]
            assert (draws.indices[i], draws.epochs[i]) == (expected, epoch * repeats + i // unique)
            assert draws.positions[i] == i


@pytest.mark.case("S9")
def test_every_image_comes_once_in_every_epoch() -> None:
    order = Order(97, 0, 10)
    stream = np.concatenate([order.draws(step).indices for step in range(97)])  # 10 epochs
    assert all(sorted(epoch.tolist()) == list(range(97)) for epoch in stream.reshape(10, 97))


def test_a_part_of_a_batch_is_the_same_as_cut_from_the_whole() -> None:
    order = Order(97, 0, 11, 2)
    whole, part = order.draws(8), order.draws(8, 3, 9)
    np.testing.assert_array_equal(part.indices, whole.indices[3:9])
    np.testing.assert_array_equal(part.epochs, whole.epochs[3:9])
    np.testing.assert_array_equal(part.positions, np.arange(3, 9))


def test_epochs_and_seeds_differ_in_their_order() -> None:
    first, second = Order(97, 0, 97).draws(0), Order(97, 0, 97).draws(1)
    assert (first.indices != second.indices).mean() > 0.9
    assert (first.indices != Order(97, 1, 97).draws(0).indices).mean() > 0.9


def test_the_order_never_changes_between_versions() -> None:
    assert Order(1000, 0, 6).draws(0).indices.tolist() == [427, 609, 505, 44, 665, 799]

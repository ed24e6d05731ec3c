"""Numbers drawn for the images of a batch: even, independent, and nobody's business but the image's own."""

from __future__ import annotations

import numpy as np
from scipy import stats

from vit_cli.augment.dice import Dice
from vit_cli.keys import image_keys

COUNT = 4000


def make_keys(count: int = COUNT, seed: int = 0) -> np.ndarray:
    return image_keys(seed, np.zeros(count, np.int64), np.arange(count))


def splitmix(state: int) -> int:
    """The published generator (Steele, Lea & Flood, 2014), in whole numbers of any size."""
    full = 2**64 - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & full
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & full
    return state ^ (state >> 31)


def test_numbers_are_those_of_splitmix64_that_starts_at_the_key() -> None:
    keys = np.array([1, 2**63 - 1, 2**64 - 5], dtype=np.uint64)
    dice = Dice(keys)
    drawn = np.stack([dice.uniform(), *dice.uniform(count=2).T], 1)
    for key, row in zip(keys.tolist(), drawn, strict=True):
        expected = [splitmix((key + step * 0x9E3779B97F4A7C15) % 2**64) >> 11 for step in (1, 2, 3)]
        assert row.tolist() == [value / 2**53 for value in expected]


def test_numbers_are_even_over_images_and_over_draws_and_unrelated() -> None:
    numbers = Dice(make_keys()).uniform(count=8)
    for column in numbers.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    assert stats.kstest(Dice(make_keys(4)).uniform(count=3000)[2], "uniform").pvalue > 1e-3
    among = np.corrcoef(numbers.T) - np.eye(8)
    assert np.abs(among).max() < 4.5 / np.sqrt(COUNT)
    neighbours = np.corrcoef(numbers[1:, 0], numbers[:-1, 0])[0, 1]
    assert abs(neighbours) < 4.5 / np.sqrt(COUNT)


def test_ranges_and_choices_are_kept() -> None:
    dice = Dice(make_keys())
    ranged = dice.uniform(-3.0, 5.0)
    assert ranged.min() >= -3
    assert ranged.max() < 5
    assert abs(ranged.mean() - 1) < 4.5 * 8 / np.sqrt(12 * COUNT)
    assert stats.chisquare(np.bincount(dice.below(14), minlength=14)).pvalue > 1e-3
    assert (dice.below(1) == 0).all()
    assert dice.chance(1.0).all()
    assert not dice.chance(0.0).any()
    assert abs(dice.chance(0.3).mean() - 0.3) < 4.5 * np.sqrt(0.21 / COUNT)


def test_an_image_draws_the_same_in_any_company() -> None:
    keys = make_keys(9)
    together = Dice(keys).uniform(count=5)
    for row in range(9):
        assert np.array_equal(Dice(keys[row : row + 1]).uniform(count=5)[0], together[row])
    assert np.array_equal(Dice(keys[::-1]).uniform(count=5), together[::-1])


def test_drawing_at_once_is_drawing_one_by_one() -> None:
    one_by_one, at_once = Dice(make_keys(7)), Dice(make_keys(7))
    singles = np.stack([one_by_one.uniform() for _ in range(6)], 1)
    assert np.array_equal(singles, np.concatenate((at_once.uniform(count=2), at_once.uniform(count=4)), 1))


def test_picked_images_go_on_where_all_were_and_the_others_do_not_notice() -> None:
    keys = make_keys(6)
    dice, other = Dice(keys), Dice(keys)
    dice.uniform()
    other.uniform()
    picked = dice.pick(np.array([4, 1]))
    assert len(picked) == 2
    second = other.uniform()
    assert np.array_equal(picked.uniform(), second[[4, 1]])
    assert np.array_equal(dice.uniform(), second)
    assert len(dice.pick(np.zeros(6, dtype=np.bool_)).uniform(count=3)) == 0


def test_forks_are_unrelated_to_each_other_and_leave_their_origin_alone() -> None:
    dice = Dice(make_keys())
    streams = [dice.fork(0).uniform(), dice.fork(1).uniform(), dice.fork(-1).uniform(), dice.uniform()]
    assert np.array_equal(streams[3], Dice(make_keys()).uniform())
    assert np.abs(np.corrcoef(streams) - np.eye(4)).max() < 4.5 / np.sqrt(COUNT)

"""The same picture more than once: shared, repeated, contradicted."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from vit_cli.data.decode import MAX_PIXELS
from vit_cli.data.duplicates import NAMED, Duplicates, find_duplicates, say_label
from vit_cli.data.samples import Pixels
from vit_cli.data.survey import Survey, look_at

NAMES = ["cat", "dog", "owl"]


def find(**splits: list[tuple[int, str]]) -> Duplicates:
    """Find duplicates in splits of pictures, each given by its number and its class."""
    surveys = []
    for name, pictures in splits.items():
        pixels = np.stack([np.full((2, 2), number, dtype=np.uint8) for number, _ in pictures])
        labels = np.array([NAMES.index(label) for _, label in pictures])
        samples = Pixels(name, pixels, labels, NAMES)
        places = np.arange(len(samples))
        surveys.append(look_at(name, samples, places, workers=0, max_pixels=MAX_PIXELS, told=lambda _: None))
    return find_duplicates(surveys)


def test_pictures_that_all_differ_are_no_duplicates() -> None:
    assert find(train=[(1, "cat"), (2, "cat")], val=[(3, "dog")]) == Duplicates()


@pytest.mark.case("S4")
def test_pictures_of_both_splits_are_shared() -> None:
    found = find(train=[(1, "cat"), (2, "dog")], val=[(3, "cat"), (2, "dog")])
    assert (found.shared, dict(found.repeated), found.conflicting) == (1, {}, 0)
    pair = found.shared_pairs[0]
    assert (pair.first, pair.second) == ("train row 1", "val row 1")
    assert (pair.first_split, pair.second_split) == ("train", "val")


def test_pictures_twice_in_a_split_are_repeated() -> None:
    found = find(train=[(1, "cat"), (2, "dog"), (1, "cat"), (1, "cat")], val=[(5, "owl"), (5, "owl")])
    assert (found.shared, dict(found.repeated), found.conflicting) == (0, {"train": 2, "val": 1}, 0)
    assert [(pair.first, pair.second) for pair in found.repeated_pairs if pair.first_split == "train"] == [
        ("train row 0", "train row 2"),
        ("train row 0", "train row 3"),
    ]


def test_a_picture_can_be_shared_and_repeated() -> None:
    found = find(train=[(1, "cat")], val=[(1, "cat"), (1, "cat")])
    assert (found.shared, dict(found.repeated)) == (2, {"val": 1})


def test_other_labels_of_equal_pictures_contradict_each_other_within_and_across_splits() -> None:
    found = find(train=[(1, "cat"), (1, "dog")], val=[(2, "owl"), (1, "cat"), (2, "owl")])
    assert found.conflicting == 1
    pair = found.conflicting_pairs[0]
    assert (pair.first_label, pair.second_label) == ("cat", "dog")
    assert find(train=[(1, "cat")], val=[(1, "owl")]).conflicting == 1


def test_many_pairs_are_counted_and_some_named() -> None:
    found = find(train=[(1, "cat")] * (NAMED + 51))
    assert found.repeated["train"] == NAMED + 50
    assert len(found.repeated_pairs) == NAMED


def test_against_every_pair_compared() -> None:
    random = np.random.default_rng(0)
    train, val = ([(int(n), "cat") for n in random.integers(0, 200, size)] for size in (100, 80))
    found = find(train=train, val=val)
    assert found.shared == sum(picture in train for picture in val)
    assert found.repeated["train"] == len(train) - len(set(train))
    assert found.repeated["val"] == len(val) - len(set(val))


def test_broken_images_are_no_duplicates_of_each_other() -> None:
    class Broken(Pixels):
        def read(self, index: int) -> bytes:  # type: ignore[override]
            return b""

    samples = Broken("train", np.zeros((3, 2, 2), dtype=np.uint8), np.zeros(3, dtype=np.int64), ["cat"])
    survey = look_at("train", samples, np.arange(3), workers=0, max_pixels=MAX_PIXELS, told=lambda _: None)
    assert find_duplicates([survey]) == Duplicates()


def test_a_picture_that_is_everywhere_takes_no_time() -> None:
    """Each of n is compared with one before it, not with all; all pairs would take some ten seconds."""
    surveys = []
    for name in ("train", "val"):
        samples = Pixels(name, np.zeros((20_000, 1, 1), np.uint8), np.zeros(20_000, np.int64), NAMES)
        survey = Survey(name, samples, np.arange(20_000))
        survey.rows[:] = survey.columns[:] = 1
        surveys.append(survey)
    begin = time.process_time()
    found = find_duplicates(surveys)
    assert time.process_time() - begin < 2
    assert (found.shared, found.repeated) == (20_000, {"train": 19_999, "val": 19_999})
    assert {(pair.first, pair.first_split) for pair in found.repeated_pairs} == {("train row 0", "train")}


@pytest.mark.parametrize("labels", [[[1.5, 2.0, -3.0]], np.array([[1, 1, 0]], np.float32)])
def test_the_order_of_columns_makes_no_other_label(labels: object) -> None:
    values, pixels = np.asarray(labels), np.zeros((1, 2, 2), np.uint8)
    said = say_label(Pixels("x", pixels, values, NAMES), 0)
    assert say_label(Pixels("x", pixels, values[:, ::-1], NAMES[::-1]), 0) == said


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([1]), "dog"),
        (np.array([[1, 0, 1]], dtype=np.float32), "cat, owl"),
        (np.array([[1.5, 2.0, -3.0]]), "cat=1.5, dog=2, owl=-3"),
    ],
)
def test_labels_of_every_task_are_said(labels: NDArray[np.float64], said: str) -> None:
    assert say_label(Pixels("x", np.zeros((1, 2, 2), dtype=np.uint8), labels, NAMES), 0) == said

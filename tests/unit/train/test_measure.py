"""What is timed and what is not, on a clock of the test's own; and what a graph keeps, against sums by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, repeat

import pytest
import torch
from torch import nn

from vit_cli.dist.world import World
from vit_cli.models import Vit
from vit_cli.train import measure
from vit_cli.train.measure import KeptBytes, Timing, measure_peak, time_calls, time_once

ALONE = World(0, 1, torch.device("cpu"))


class Hand:
    """A clock that calls move by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[float] = []

    def work(self, seconds: float) -> None:
        self.calls.append(seconds)
        self.now += seconds


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(time, "perf_counter", lambda: hand.now)
    return hand


def test_calls_fill_the_time_after_a_fifth_of_it_to_warm_up(hand: Hand) -> None:
    timing = time_calls(hand.work, repeat(0.125), ALONE, seconds=1.0)
    assert timing.seconds == (0.125,) * 8
    assert len(hand.calls) == 1 + 1 + 8


def test_the_making_of_inputs_does_not_count(hand: Hand) -> None:
    def slowly() -> Iterator[float]:
        while True:
            hand.now += 100
            yield 0.25

    assert time_calls(hand.work, slowly(), ALONE, seconds=1.0).seconds == (0.25,) * 4


def test_a_call_longer_than_the_time_is_made_once_unless_more_are_asked_for(hand: Hand) -> None:
    assert time_calls(hand.work, repeat(3.0), ALONE, seconds=1.0) == Timing((3.0,))
    assert len(hand.calls) == 1
    assert time_calls(hand.work, repeat(3.0), ALONE, seconds=1.0, least=2) == Timing((3.0, 3.0))


def test_inputs_may_end_at_any_time(hand: Hand) -> None:
    assert time_calls(hand.work, [], ALONE, seconds=1.0) == Timing(())
    assert time_calls(hand.work, [0.5], ALONE, seconds=1.0) == Timing((0.5,))
    assert time_calls(hand.work, [0.25, 0.5, 0.75], ALONE, seconds=1.0) == Timing((0.5, 0.75))
    assert time_once(hand.work, 7.0, ALONE.device) == 7.0


def test_quantiles_are_those_of_the_calls() -> None:
    timing = Timing(tuple(float(number) for number in reversed(range(101))))
    assert (timing.quantile(0.1), timing.median, timing.quantile(0.95)) == (10.0, 50.0, 95.0)


def test_the_peak_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(step=0.5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(measure, "SIDES", {"cpu": (8, 16)})
    assert measure_peak(ALONE, "fp32", seconds=1.0) == 2 * 16**3 / 0.5
    assert measure_peak(ALONE, "bf16", seconds=0.1) == 2 * 8**3 / 0.5, "the larger ones would take too long"


def test_what_a_graph_keeps_is_counted_once_and_until_it_is_used() -> None:
    layer = nn.Linear(3, 5)
    kept = KeptBytes(layer.parameters())
    x = torch.randn(7, 3)
    with kept.counting():
        for _ in range(2):  # not at once, so the peak is that of one
            y = layer(x).sigmoid()
            assert kept.now == 4 * (7 * 3 + 7 * 5), "the input for the weights, the output for the sigmoid"
            (y * y.view(7, 5)).sum().backward()  # keeps twice what is kept already
            del y
            assert kept.now == 0
    assert kept.peak == 4 * (7 * 3 + 7 * 5)


def test_twice_the_images_keep_twice_as_much() -> None:
    model = Vit(width=16, depth=2, heads=2, patch=4, res=8).build(3)
    peaks = []
    for images in (4, 8):
        kept = KeptBytes(model.parameters())
        with kept.counting():
            model(torch.randn(images, 3, 8, 8)).sum().backward()
        peaks.append(kept.peak)
    assert peaks[1] == pytest.approx(2 * peaks[0], rel=0.01)
    assert peaks[0] > 4 * 4 * 2 * 5 * 16 * 10, "at least ten floats for each feature of each token and block"

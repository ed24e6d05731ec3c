"""Measuring: how long calls take, how fast a device multiplies matrices, and what a step keeps for its backward pass."""

from __future__ import annotations

import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vit_cli.device import Precision, wait_for
from vit_cli.dist.world import World

WARM_SHARE = 0.2
"""So long a share of the time for calls that count is spent on others before, which warm up."""
MOST_CALLS = 2000
SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Sides of the square matrices that a device's peak is measured with: large enough to keep it busy."""
Given = TypeVar("Given")


@dataclass(frozen=True)
class Timing:
    """How long each of some like calls took, in seconds and in their order."""

    seconds: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Give the seconds that this share of the calls does not exceed."""
        return float(np.quantile(self.seconds, share))

    @property
    def median(self) -> float:
        """Give the seconds of the call in the middle."""
        return self.quantile(0.5)


class Laps:
    """Times calls one by one: on a GPU by marks in its own queue, which hold nothing up, elsewhere by the clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[tuple[float, float] | tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def time(self, call: Callable[[Given], object], given: Given) -> None:
        """Make a call between two marks."""
        if self.device.type == "cuda":
            events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            events[0].record()
            call(given)
            events[1].record()
            self.marks.append(events)
        else:
            begin = time.perf_counter()
            call(given)
            self.marks.append((begin, time.perf_counter()))

    def timing(self) -> Timing:
        """Wait for the calls, and tell how long each took."""
        wait_for(self.device)
        return Timing(tuple(span(*marks) for marks in self.marks))


def span(begin: Any, end: Any) -> float:
    """Give the seconds between two marks: readings of the clock, or events of a GPU, which count milliseconds."""
    seconds: float = end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000
    return seconds


def time_once(call: Callable[[Given], object], given: Given, device: torch.device) -> float:
    """Give the seconds from a call to the moment when the device has done all of it."""
    wait_for(device)
    begin = time.perf_counter()
    call(given)
    wait_for(device)
    return time.perf_counter() - begin


def time_calls(
    call: Callable[[Given], object],
    inputs: Iterable[Given],
    world: World,
    seconds: float,
    least: int = 0,
    waits: bool = False,
) -> Timing:
    """Time calls with one of `inputs` each for about so many seconds, but at least so many calls; warm-up comes before.

    What takes its time to give the inputs is not counted. Calls follow each other as in training, where a GPU is behind
    the host; with `waits` each is over before the next. All processes make as many calls. A call longer than `seconds`
    is made but once, unless `least` asks for more; inputs that come to an end stop it sooner, perhaps before any call.
    """
    source = iter(inputs)
    trials = tuple(time_once(call, given, world.device) for given in islice(source, 1))
    warm, count = world.share(plan_calls(trials[0], seconds) if trials else (0, 0))
    for given in islice(source, warm):
        call(given)
    wait_for(world.device)
    laps = Laps(world.device)
    for given in islice(source, max(count, least)):
        laps.time(call, given)
        if waits:
            wait_for(world.device)
    timing = laps.timing()
    return timing if timing.seconds else Timing(trials)


def plan_calls(each: float, seconds: float) -> tuple[int, int]:
    """Give how many calls of `each` seconds warm up, and how many count."""
    return min(int(WARM_SHARE * seconds / each), MOST_CALLS), min(int(seconds / each), MOST_CALLS)


def measure_peak(world: World, precision: Precision, seconds: float) -> float:
    """Give the operations a second of the fastest of many products of square matrices, a multiply-add as two.

    All processes multiply at once, and the result is that of their devices together. Larger matrices than a device
    multiplies in so many seconds are left out.
    """
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    sides = SIDES[world.device.type]
    best = 0.0
    for side in sides:
        left, right = (torch.randn(side, side, device=world.device).to(dtype) for _ in range(2))
        timing = time_calls(partial(F.linear, left), repeat(right), world, seconds / len(sides), least=2)
        best = max(best, 2 * side**3 / min(timing.seconds))
        if world.share(timing.median > seconds):
            break
    return float(world.sum(torch.tensor(best, dtype=torch.float64, device=world.device)))


class KeptBytes:
    """Counts the bytes of all tensors that graphs keep for their backward pass, inside `counting`.

    A storage that several tensors share counts once, and `weights` not at all, for they are there anyway. `peak` is the
    most at any moment. What operations need just while they run is not in it.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.known = {address(weight) for weight in weights}
        self.holders: Counter[int] = Counter()
        self.now = 0
        self.peak = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is kept by operations of the block."""
        with torch.autograd.graph.saved_tensors_hooks(self.keep, Kept.give):
            yield

    def keep(self, tensor: Tensor) -> Kept:
        """Note a tensor that a graph keeps, until the graph lets it go."""
        kept, place = Kept(tensor), address(tensor)
        if place not in self.known:
            size = tensor.untyped_storage().nbytes()
            self.now += size if not self.holders[place] else 0
            self.holders[place] += 1
            self.peak = max(self.peak, self.now)
            weakref.finalize(kept, self.drop, place, size)
        return kept

    def drop(self, place: int, size: int) -> None:
        """Note that one holder of a storage is gone."""
        self.holders[place] -= 1
        self.now -= size if not self.holders[place] else 0


class Kept:
    """A tensor in a graph's keeping."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def give(self) -> Tensor:
        """Give it back."""
        return self.tensor


def address(tensor: Tensor) -> int:
    """Tell where the storage of a tensor begins."""
    return tensor.untyped_storage().data_ptr()

"""The learning rate as a pure function of the step: big_vision's schedules, whose warm-up starts one step earlier."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from vit_cli.section import Duration, Positive, Section, Share

NO_STEPS = Duration("0 steps")


class Curve(Section):
    """A curve of its own between a linear warm-up and a linear cooldown, as shares of the peak learning rate."""

    warmup: Duration = Field(NO_STEPS, description="how long the rate rises to its peak")
    warmup_from: Share = Field(0.0, description="where the warm-up starts, as a share of the peak")
    cooldown: Duration = Field(NO_STEPS, description="how long the rate falls to zero at the end, on top of the curve")

    def scale_at(self, step: int, *, total_steps: int, warmup_steps: int, cooldown_steps: int) -> float:
        """Give the factor in [0, 1] on the peak learning rate for update number `step`, counted from 0.

        The warm-up factor is `(step + 1) / warmup_steps`: big_vision's `step / warmup_steps` would waste the first
        update at a rate of 0. The curve begins after the warm-up and ends at `total_steps`, one after the last update.
        """
        length = max(1, total_steps - warmup_steps)
        elapsed = min(max(0, step - warmup_steps), length)
        rise = min(1.0, (step + 1) / max(1, warmup_steps))
        fall = min(1.0, max(0, total_steps - step) / max(1, cooldown_steps))
        return self.follow(elapsed, length) * (self.warmup_from + (1 - self.warmup_from) * rise) * fall

    @abstractmethod
    def follow(self, elapsed: int, length: int) -> float:
        """Give the curve's value in [0, 1] when `elapsed` of its `length` steps are over."""


class Cosine(Curve):
    """Half a cosine from the peak to `final`."""

    name: Literal["cosine"] = "cosine"
    final: Share = Field(0.0, description="where the curve ends, as a share of the peak")

    def follow(self, elapsed: int, length: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * elapsed / length)) / 2


class Linear(Curve):
    """A straight line from the peak to `final`."""

    name: Literal["linear"] = "linear"
    final: Share = Field(0.0, description="where the curve ends, as a share of the peak")

    def follow(self, elapsed: int, length: int) -> float:
        return self.final + (1 - self.final) * (1 - elapsed / length)


class Rsqrt(Curve):
    """1 / sqrt(1 + steps / timescale), for runs of open length ("Scaling Vision Transformers", Zhai et al. 2022)."""

    name: Literal["rsqrt"] = "rsqrt"
    timescale: Positive = Field(10_000, description="in steps: after three of them the rate has halved")

    def follow(self, elapsed: int, length: int) -> float:  # noqa: ARG002
        return 1 / math.sqrt(1 + elapsed / self.timescale)


class Constant(Curve):
    """The peak learning rate throughout."""

    name: Literal["constant"] = "constant"

    def follow(self, elapsed: int, length: int) -> float:  # noqa: ARG002
        return 1.0


Schedule = Annotated[Cosine | Linear | Rsqrt | Constant, Field(discriminator="name")]

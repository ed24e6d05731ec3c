"""Stopping in good order: a signal or the end of the allowed time sets a flag, and the loop saves at the next step."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

from vit_cli.dist.place import passes_signals_on
from vit_cli.errors import Stopped, UsageError, VitError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
Item = TypeVar("Item")
ECHO_SECONDS = 1.0
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def raise_it(error: VitError) -> None:
    """End what runs, as far as it lets an error through."""
    raise error


class StopFlag:
    """Whether training was asked to stop, and why; `end` ends the program at a second signal, wherever it stands."""

    has_saved = False
    saves = False
    """Whether a signal only sets the flag, because there is a loop that sees it; else it ends the program at once."""

    def __init__(self, seconds: float | None = None, end: Callable[[VitError], None] = raise_it) -> None:
        self.end = end
        self.speaks = True
        self.reason = ""
        self.was_signalled = False
        self.heard_at = 0.0
        self.exit_code = 143
        self.deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def is_set(self) -> bool:
        """Whether to stop after this step."""
        if not self.reason and self.deadline is not None and time.monotonic() >= self.deadline:
            self.reason = "the allowed time is over"
        return bool(self.reason)

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal; a second one ends the program at once, with the last checkpoint intact."""
        if self.was_signalled and self.is_echo():
            return
        if self.was_signalled:
            self.end(Stopped("stopped at once by a second signal", "The last checkpoint is intact.", self.exit_code))
        self.was_signalled, self.heard_at = True, time.monotonic()
        self.reason = f"stopped by {signal.Signals(number).name}"
        self.exit_code = 130 if number == signal.SIGINT else 143
        if not self.saves:
            when = " after the last step" if self.has_saved else " before the first step"
            raise Stopped(self.reason + when, exit_code=self.exit_code)
        if self.speaks:
            with suppress(OSError, ValueError, AttributeError):  # nobody may be there to read it
                os.write(sys.stderr.fileno(), b"\nsaving after this step, then stopping; once more to stop at once\n")

    def ask(self, reason: str) -> None:
        """Stop as after a signal, unless that is under way."""
        self.reason = self.reason or reason
        self.was_signalled = True

    def is_echo(self) -> bool:
        """Tell whether a signal that comes now is the first one again, passed on by a launcher that got it too."""
        return passes_signals_on() and time.monotonic() - self.heard_at < ECHO_SECONDS

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Let the block decide when to stop, and save before."""
        self.saves = True
        try:
            yield
        finally:
            self.saves, self.has_saved = False, True

    def until_signalled(self, items: Iterable[Item], agree: Callable[[bool], bool] = bool) -> Iterator[Item]:
        """Pass `items` on, but no more after a signal; `agree` tells whether any process that must keep step had one."""
        for item in items:
            if agree(self.was_signalled):
                return
            yield item

    @contextmanager
    def listening(self) -> Iterator[StopFlag]:
        """Listen to signals inside the block."""
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup stays nohup
        before = {number: signal.signal(number, self.hear) for number in heard}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def read_time(text: str) -> float:
    """Turn `2h`, `90m`, `1h30m` or `45s` into seconds; UsageError for anything else."""
    if not re.fullmatch(r"(\d{1,9}[smhd])+", text):
        raise UsageError(f"--time {text} is not understood", "Write for example 90m, 2h or 1h30m.")
    return float(sum(int(amount) * UNITS[unit] for amount, unit in re.findall(r"(\d+)([smhd])", text)))

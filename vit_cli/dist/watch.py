"""Noticing that another process is frozen or gone, which no process that waits for it in a sum could tell."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.distributed as dist

from vit_cli.errors import TrainingError, VitError

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 60.0
"""So long without a sign of life, and a process counts as frozen; VIT_SILENCE_SECONDS in the environment changes it."""
LEAVE_SILENCES = 5
"""So many times as long may a process that has lost its launcher take to save and stop."""


class Unwatched:
    """The watch of a process that is alone: what it has to say it shows itself."""

    def __init__(self) -> None:
        self.note: Callable[[str], None] | None = None

    @contextmanager
    def on(
        self, end: Callable[[VitError], None], note: Callable[[str], None], stop: Callable[[str], None]
    ) -> Iterator[None]:
        """Show what is said during the block with `note`; there is nobody to watch."""
        del end, stop
        self.note = note
        try:
            yield
        finally:
            self.note = None

    def say(self, text: str) -> None:
        """Show a line about this process."""
        if self.note is not None:
            self.note(f"process 0 {text}")


class Watch:
    """A thread that gives signs of life through the store where the processes met, and looks for those of the others.

    It does so while the main thread waits for data, computes or saves; so a slow process is never taken for a frozen one.
    """

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self.store = store
        self.rank = rank
        self.keys = [f"life/{number}" for number in range(size)]
        self.silence_seconds = float(os.environ.get("VIT_SILENCE_SECONDS", SILENCE_SECONDS))
        self.beat_seconds = min(BEAT_SECONDS, self.silence_seconds / 5)
        self.beats = 0
        self.words = ""
        self.heard = [""] * size
        self.last_change = [time.monotonic()] * size
        self.over = threading.Event()
        self.give_sign()

    @contextmanager
    def on(
        self, end: Callable[[VitError], None], note: Callable[[str], None], stop: Callable[[str], None]
    ) -> Iterator[None]:
        """Watch during the block.

        `end` ends this process with an error, `stop` asks it to save and stop, `note` shows what another one has to say.
        """
        thread = threading.Thread(target=self.run, args=(end, note, stop), name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join(self.beat_seconds)

    def say(self, text: str) -> None:
        """Have the first process show a line about this one."""
        self.words = text

    def run(self, end: Callable[[VitError], None], note: Callable[[str], None], stop: Callable[[str], None]) -> None:
        """Give a sign of life and look for the others', again and again."""
        before = time.monotonic()
        while not self.over.wait(self.beat_seconds):
            try:
                self.give_sign()
                signs = [value.decode() for value in self.store.multi_get(self.keys)]
            except RuntimeError:  # the store is gone, and with it the launcher or the first process
                stop("the launcher or the first process is gone")
                if not self.over.wait(LEAVE_SILENCES * self.silence_seconds):
                    end(TrainingError("the launcher or the first process is gone"))
                return
            now = time.monotonic()
            if (
                now - before > self.silence_seconds / 2
            ):  # this process or the whole machine slept: the others can't know yet
                self.last_change = [now] * len(signs)
            before = now
            self.compare(signs, now, note)
            silent = [rank for rank, last in enumerate(self.last_change) if now - last > self.silence_seconds]
            if silent and not self.over.is_set():
                end(frozen(silent, self.silence_seconds))
                return

    def give_sign(self) -> None:
        """Write a new sign of life, with the words to pass on."""
        self.beats += 1
        self.store.set(self.keys[self.rank], f"{self.beats} {self.words}")

    def compare(self, signs: list[str], now: float, note: Callable[[str], None]) -> None:
        """Note which signs are new; the first process shows new words."""
        for rank, (before, sign) in enumerate(zip(self.heard, signs, strict=True)):
            words = sign.partition(" ")[2]
            if sign != before:
                self.last_change[rank] = now
            if self.rank == 0 and words and words != before.partition(" ")[2]:
                note(f"process {rank} {words}")
        self.heard = signs


def frozen(ranks: list[int], seconds: float) -> TrainingError:
    """Say which processes are silent."""
    named = f"process {ranks[0]}" if len(ranks) == 1 else f"processes {', '.join(map(str, ranks))}"
    return TrainingError(
        f"{named} gave no sign of life for {seconds:.0f} s, so the run has ended",
        "Was it stopped, or did its machine hang? What was saved is intact: vit resume goes on from there.",
    )

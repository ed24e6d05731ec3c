"""What training tells whoever watches it; the command line shows it, tests collect it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

from vit_cli.errors import VitError
from vit_cli.metrics.names import SCORES


class Row(NamedTuple):
    """One evaluation during training, as shown on the console and written to metrics.csv.

    `scores` are those that the task shows, by name (`vit_cli.metrics.names`), the main one first.
    """

    step: int
    epoch: float
    epochs: float
    train_loss: float
    val_loss: float
    scores: Mapping[str, float]
    lr: float
    images_per_second: float
    wait: float
    memory_gib: float
    eta_seconds: float
    best: bool


class Tick(NamedTuple):
    """Where training stands between two rows."""

    step: int
    total_steps: int
    images_per_second: float
    eta_seconds: float


class Progress(Protocol):
    """A watcher of training."""

    def header(self, facts: Mapping[str, str]) -> None:
        """Show what is about to run."""

    def tick(self, tick: Tick) -> None:
        """Hear that a step was made; called for every step, so it must be cheap."""

    def row(self, row: Row) -> None:
        """Show an evaluation."""

    def note(self, text: str) -> None:
        """Show a line of text."""

    def end(self) -> None:
        """Leave the terminal as it was."""


class Silence:
    """A watcher that shows nothing: for every process but the first."""

    def header(self, facts: Mapping[str, str]) -> None:
        """Show nothing."""

    def tick(self, tick: Tick) -> None:
        """Show nothing."""

    def row(self, row: Row) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""


class Logged:
    """Passes everything on to another watcher, and gives what is worth keeping to `write`, line by line.

    Training outlives a terminal that is gone and a log that can't be written.
    """

    def __init__(self, watcher: Progress, write: Callable[[str], None]) -> None:
        self.watcher = watcher
        self.write_line = write

    def write(self, line: str) -> None:
        """Write a line if that is possible."""
        with suppress(OSError, VitError):
            self.write_line(line)

    def header(self, facts: Mapping[str, str]) -> None:
        """Log a line per fact."""
        for key, value in facts.items():
            self.write(f"{key}: {value}")
        with suppress(OSError):
            self.watcher.header(facts)

    def tick(self, tick: Tick) -> None:
        """Log nothing: steps.jsonl has it."""
        with suppress(OSError):
            self.watcher.tick(tick)

    def row(self, row: Row) -> None:
        """Log the row."""
        self.write(
            f"step {row.step}, epoch {row.epoch:g} of {row.epochs:g}: "
            f"train_loss {row.train_loss:.4f}, val_loss {row.val_loss:.4f}, "
            + "".join(f"{name} {SCORES[name].form.format(value)}, " for name, value in row.scores.items())
            + f"lr {row.lr:.3g}, {row.images_per_second:g} img/s, wait {row.wait:.0%}"
            + (", best" if row.best else "")
        )
        with suppress(OSError):
            self.watcher.row(row)

    def note(self, text: str) -> None:
        """Log the line."""
        self.write(text)
        with suppress(OSError):
            self.watcher.note(text)

    def end(self) -> None:
        """Leave the terminal as it was."""
        with suppress(OSError):
            self.watcher.end()

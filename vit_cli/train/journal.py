"""The run's written record: metrics.csv, steps.jsonl; and the clock behind images/s, wait and eta."""

from __future__ import annotations

import csv
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vit_cli.checkpoint.commit import commit, told
from vit_cli.data.batch import Stages
from vit_cli.train.advice import Interval
from vit_cli.train.folder import RunFolder, append
from vit_cli.train.progress import Row
from vit_cli.train.tracking import NoTracking, Tracking

BEFORE, AFTER = ("step", "epoch", "train_loss", "val_loss"), ("lr", "images_per_second", "wait", "memory_gib", "best")
"""The columns of metrics.csv before and after those of the scores."""
HEARTBEAT_SECONDS = 10.0
Item = TypeVar("Item")


class Clock:
    """Measures images per second, the share of time spent waiting for data, and the time that is left.

    `is_advised` says that the user was told what to do about waiting, which is told once.
    """

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.before = 0.0
        self.beaten = -HEARTBEAT_SECONDS
        self.recent: deque[tuple[float, int]] = deque(maxlen=200)
        self.is_advised = False
        self.restart()

    def restart(self) -> None:
        """Start a new interval: of a row, without the evaluation before it."""
        self.since = time.monotonic()
        self.images = 0
        self.steps = 0
        self.stages = Stages()
        self.waited = 0.0
        self.started = 0.0

    def beats(self) -> bool:
        """Tell whether it is time for another sign of life."""
        is_time = time.monotonic() - self.beaten > HEARTBEAT_SECONDS
        if is_time:
            self.beaten = time.monotonic()
        return is_time

    def waiting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass `items` on, and note how long each was waited for; the first wait holds the start of what makes them."""
        source = iter(items)
        is_first = True
        while True:
            before = time.monotonic()
            try:
                item = next(source)
            except StopIteration:
                return
            waited = time.monotonic() - before
            self.waited += waited
            self.started += waited if is_first else 0.0
            is_first = False
            yield item

    def count(self, images: int, making: Stages = Stages()) -> None:
        """Note a finished step, and the seconds that the making of its batch took."""
        self.images += images
        self.steps += 1
        self.stages = Stages(*(before + new for before, new in zip(self.stages, making, strict=True)))
        self.recent.append((time.monotonic(), images))

    @property
    def seconds(self) -> float:
        """Seconds spent on the run so far: in this process, and `before` it in those that it goes on from."""
        return self.before + time.monotonic() - self.start

    @property
    def images_per_second(self) -> float:
        """Throughput of this interval."""
        return self.images / max(time.monotonic() - self.since, 1e-9)

    @property
    def wait(self) -> float:
        """Share of this interval spent waiting for data."""
        return self.waited / max(time.monotonic() - self.since, 1e-9)

    @property
    def interval(self) -> Interval:
        """What this interval's steps took, without the start of what makes the batches."""
        seconds = time.monotonic() - self.since - self.started
        return Interval(self.steps, seconds, self.waited - self.started, self.stages)

    def eta(self, steps_left: int) -> float:
        """Guess the seconds that `steps_left` steps take, from the latest ones, evaluations included."""
        if len(self.recent) < 2:
            return 0.0
        return (self.recent[-1][0] - self.recent[0][0]) / (len(self.recent) - 1) * steps_left


class Journal:
    """Appends to the run's files, on the first process only; `scores` have a column each in metrics.csv.

    Trackers hear the same numbers by the same names.
    """

    def __init__(
        self,
        folder: RunFolder,
        scores: Sequence[str],
        writes: bool = True,
        trackers: Tracking | NoTracking = NoTracking(),
    ) -> None:
        self.columns = [*BEFORE, *scores, *AFTER]
        self.metrics = folder.path / "metrics.csv"
        self.steps = folder.path / "steps.jsonl"
        self.nonfinite = folder.path / "nonfinite.jsonl"
        self.writes = writes
        self.scores = scores
        self.trackers = trackers

    def rewind(self, step: int, judged_step: int) -> None:
        """Drop what lies after `step`, and rows after `judged_step`: what was written between a checkpoint and the end."""
        if self.writes:
            keep_rows(self.metrics, judged_step, self.columns)
            keep_steps(self.steps, step)
            keep_steps(self.nonfinite, step)
            self.trackers.begin(step)

    def end(self, finished: bool) -> None:
        """Have the trackers write the rest."""
        self.trackers.end(finished)

    def last_row(self) -> dict[str, float]:
        """Give the newest row of metrics.csv; empty before the first."""
        if not self.metrics.exists():
            return {}
        with self.metrics.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: float(value) for name, value in rows[-1].items() if name != "best"} if rows else {}

    def add_row(self, row: Row) -> None:
        """Append an evaluation to metrics.csv."""
        if not self.writes:
            return
        is_new = not self.metrics.exists() or not self.metrics.stat().st_size
        with told(self.metrics), self.metrics.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(self.columns)
            cells = row._asdict() | dict(row.scores)
            writer.writerow([cells[name] for name in self.columns])
        judged = ("epoch", "train_loss", "val_loss", *self.scores, "memory_gib")  # the rest is in the row of the step
        self.trackers.add(row.step, {name: cells[name] for name in judged})

    def add_step(self, **facts: Any) -> None:
        """Append a line to steps.jsonl."""
        if self.writes:
            append(self.steps, json.dumps(facts))
            self.trackers.add(facts["step"], {name: value for name, value in facts.items() if name != "step"})

    def add_nonfinite(self, facts: Mapping[str, Any]) -> None:
        """Append a line to nonfinite.jsonl: a step that changed nothing, with all that is needed to make it again."""
        if self.writes:
            append(self.nonfinite, json.dumps(facts))


def keep_rows(path: Path, last_step: int, columns: Sequence[str]) -> None:
    """Drop the rows of metrics.csv that lie after `last_step`, and what a crash left half written."""
    if path.exists():
        rows = [row for row in whole_lines(path) if is_until(last_step, row, lambda row: row.partition(",")[0])]
        replace_lines(path, [",".join(columns), *rows])


def keep_steps(path: Path, last_step: int) -> None:
    """Drop the lines of steps.jsonl that lie after `last_step`, and what a crash left half written."""
    if path.exists():
        lines = whole_lines(path)
        replace_lines(
            path, [line for line in lines if is_until(last_step, line, lambda line: json.loads(line)["step"])]
        )


def is_until(last_step: int, line: str, step_of: Callable[[str], Any]) -> bool:
    """Tell whether a line is of a step up to `last_step`; a damaged one is of none."""
    try:
        return int(step_of(line)) <= last_step
    except (ValueError, KeyError, TypeError):
        return False


def whole_lines(path: Path) -> list[str]:
    """Read the lines of a file that were written to their end."""
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def replace_lines(path: Path, lines: list[str]) -> None:
    """Put `lines` in the place of a file's own, all or none."""
    commit(path, lambda aside: aside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8"))

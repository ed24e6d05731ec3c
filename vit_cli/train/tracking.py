"""Trackers beside the journal: each in a thread of its own, so that none can stop a run, slow it down or end it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any

from vit_cli.recipe.schema import Recipe
from vit_cli.track.tracker import TrackedRun
from vit_cli.track.trackers import TrackTo
from vit_cli.train.environment import mask
from vit_cli.train.folder import RunFolder

FILE = "track.json"
"""What each tracker calls the run."""
MOST_WAITING = 10_000
"""Rows that a slow tracker may be behind."""
END_SECONDS = 20.0
"""So long the end of a run waits for its trackers."""
Row = tuple[int, dict[str, float]]


class NoTracking:
    """Tells nobody."""

    def begin(self, step: int) -> None:
        """Begin nothing."""

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Drop a row."""

    def end(self, finished: bool) -> None:
        """End nothing."""


class Tracking:
    """Passes rows of numbers on to trackers. One that fails is told once, and the run goes on without it."""

    def __init__(self, sections: Sequence[TrackTo], run: TrackedRun, tell: Callable[[str], None]) -> None:
        self.sections, self.run, self.tell = sections, run, tell
        self.feeds: list[Feed] = []
        for section in sections:
            section.prepare(run)

    def begin(self, step: int) -> None:
        """Open the trackers for a run that starts at `step`, or goes on from there."""
        names = Names(RunFolder(self.run.folder))
        self.feeds = [Feed(section, self.run._replace(step=step), names) for section in self.sections]

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Pass on what is a finite number; never waits."""
        numbers = {name: float(value) for name, value in values.items() if is_number(value)}
        for feed in self.feeds:
            feed.add((step, numbers))
        self.drop_failed()

    def end(self, finished: bool) -> None:
        """Have the trackers write the rest, for a while."""
        for feed in self.feeds:
            feed.end(finished)
        self.drop_failed()

    def drop_failed(self) -> None:
        """Tell which trackers have failed, on the run's own thread, and drop them."""
        for feed in [feed for feed in self.feeds if feed.problem]:
            self.tell(f"track: {feed.problem}; the run goes on without it")
            self.feeds.remove(feed)


class Names:
    """What the trackers call the run, kept in the run folder so that a resumed run is the same one there."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.lock = threading.Lock()

    def find(self, tracker: str) -> str | None:
        return self.folder.read_json(FILE).get(tracker)

    def keep(self, tracker: str, name: str) -> None:
        with self.lock:
            self.folder.write_json(FILE, self.folder.read_json(FILE) | {tracker: name})


class Feed:
    """Hands rows to one tracker, in a thread that does not keep the program alive."""

    def __init__(self, section: TrackTo, run: TrackedRun, names: Names) -> None:
        self.section, self.run, self.names = section, run, names
        self.problem = ""
        self.rows: Queue[Row | bool] = Queue(MOST_WAITING)
        self.thread = threading.Thread(target=self.serve, name=f"track {section.name}", daemon=True)
        self.thread.start()

    def add(self, row: Row) -> None:
        """Take a row."""
        try:
            self.rows.put_nowait(row)
        except Full:
            self.problem = self.problem or f"{self.section.name} can't keep up"

    def end(self, finished: bool) -> None:
        """Wait until all is written, but not for ever."""
        with suppress(Full):
            self.rows.put(finished, timeout=END_SECONDS)
        self.thread.join(END_SECONDS)
        if self.thread.is_alive():
            self.problem = self.problem or f"{self.section.name} did not come to an end"

    def serve(self) -> None:
        """Open the tracker, hand it what comes, and close it."""
        try:
            run = self.run._replace(known=self.names.find(self.section.name))
            tracker = self.section.open(run)
            self.names.keep(self.section.name, tracker.id)
            while not isinstance(row := self.rows.get(), bool):
                tracker.add(*row)
            tracker.end(row)
        except Exception as error:  # noqa: BLE001  a library may raise anything, and no run ends for it
            first = (str(error).strip() or "no reason given").splitlines()[0]
            self.problem = f"{self.section.name} failed: {type(error).__name__}: {mask(first)}"
            self.forget()

    def forget(self) -> None:
        """Make room, so that nobody waits for a thread that is gone."""
        with suppress(Empty):
            while True:
                self.rows.get_nowait()


def make_tracking(
    recipe: Recipe, folder: RunFolder, is_first: bool, tell: Callable[[str], None]
) -> Tracking | NoTracking:
    """Give the trackers that a recipe names, on the first process.

    Raises UsageError for one that is not installed or lacks its key, before anything is trained.
    """
    if not recipe.track.to or not is_first:
        return NoTracking()
    plain = without_secrets(recipe.model_dump(mode="json"))
    return Tracking(recipe.track.to, TrackedRun(folder.path.name, folder.path, plain, 0, None), tell)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def without_secrets(plain: Any) -> Any:
    """Copy plain values with stars in place of secrets in texts."""
    if isinstance(plain, Mapping):
        return {key: without_secrets(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [without_secrets(value) for value in plain]
    return mask(plain) if isinstance(plain, str) else plain

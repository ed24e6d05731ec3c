"""Trackio, on this machine."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Literal

from pydantic import Field

from vit_cli.section import DataPath, Section
from vit_cli.track.tracker import TrackedRun, bring, flatten


class Trackio(Section):
    """A project in Trackio's local database: `TRACKIO_DIR=... trackio show` shows it. Nothing is uploaded."""

    name: Literal["trackio"] = "trackio"
    project: str = Field("vit", min_length=1)
    dir: DataPath | None = Field(None, description="where the database is; null: `trackio/` in the run folder")

    def prepare(self, run: TrackedRun) -> None:
        """Import what is needed; UsageError if it is not installed."""
        os.environ["TRACKIO_DIR"] = str(self.dir or run.folder / "trackio")  # it reads this when it is imported
        with redirect_stdout(io.StringIO()):
            bring("trackio", "trackio")

    def open(self, run: TrackedRun) -> TrackioRun:
        return TrackioRun(self, run)


class TrackioRun:
    """An open run; what Trackio prints is kept off stdout, which is for results."""

    def __init__(self, section: Trackio, run: TrackedRun) -> None:
        import trackio

        self.id = run.known or run.name
        with redirect_stdout(io.StringIO()):
            self.run = trackio.init(
                project=section.project,
                name=self.id,
                config=flatten(run.recipe),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def end(self, finished: bool) -> None:  # noqa: ARG002
        with redirect_stdout(io.StringIO()):
            self.run.finish()

"""TensorBoard's event files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from vit_cli.section import DataPath, Section
from vit_cli.track.tracker import TrackedRun, bring


class TensorBoard(Section):
    """Event files: `tensorboard --logdir runs` shows all runs."""

    name: Literal["tensorboard"] = "tensorboard"
    dir: DataPath | None = None
    """Where they go; null: `tensorboard/` in the run folder."""

    def prepare(self, run: TrackedRun) -> None:  # noqa: ARG002
        """Import what is needed; UsageError if it is not installed."""
        bring("tensorboard", "tensorboard")
        bring("tensorboard", "torch.utils.tensorboard")

    def open(self, run: TrackedRun) -> EventFiles:
        return EventFiles(run, str(self.dir / run.name if self.dir else run.folder / "tensorboard"))


class EventFiles:
    """An open event file; what lies after the step that a run goes on from is taken back."""

    def __init__(self, run: TrackedRun, folder: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = folder
        self.writer = SummaryWriter(folder, purge_step=run.step + 1 if run.step else 0)
        if not run.step:
            self.writer.add_text("recipe", f"```json\n{json.dumps(run.recipe, indent=2)}\n```", 0)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def end(self, finished: bool) -> None:  # noqa: ARG002
        self.writer.close()

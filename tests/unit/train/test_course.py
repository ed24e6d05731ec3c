"""The course of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.train.course import train
from vit_cli.train.folder import LEFT_ASIDE, RunFolder, make_folder
from vit_cli.train.progress import Silence
from vit_cli.train.state import TrainState
from vit_cli.train.stop import StopFlag
from vit_cli.train.tracking import NoTracking
from vit_cli.train.wire import wire

pytestmark = pytest.mark.slow


class Looking(NoTracking):
    """Begins by looking at what lies half written in the run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[str] | None = None

    def begin(self, step: int) -> None:
        self.seen = [path.name for path in self.folder.glob(LEFT_ASIDE)]


def test_what_lies_half_written_is_gone_before_trackers_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swept later, what a tracker's own thread is writing could be taken away."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path / "run")
    make_folder(folder)
    left = folder.path / ".track.json.4711"
    left.write_text("{")
    run = wire(
        load_recipe("smoke", ["train.steps=2", "schedule.warmup=1 steps"]).recipe,
        folder,
        World(0, 1, torch.device("cpu")),
        Silence(),
    )
    run.journal.trackers = looking = Looking(folder.path)
    train(run, TrainState(), StopFlag())
    assert looking.seen == []
    assert not left.exists()

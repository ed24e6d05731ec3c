"""A run that is tracked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.integration.conftest import Run

pytest.importorskip("tensorboard", reason='TensorBoard is not installed (pip install "vit-cli[tensorboard]")')


@pytest.mark.slow
def test_a_tracker_gets_the_numbers_of_the_log_by_their_names(vit: Run, recipe: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    small = ("model.depth=1", "train.steps=4", "eval.every=2 steps", "track.to=[{name: tensorboard}]")
    result = vit("train", recipe, "--out", run, "--json", *small)
    assert result.code == 0, result.err
    assert json.loads(result.out)["step"] == 4
    assert "track:" not in result.err
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(events.Tags()["scalars"]) == {*steps[0], *rows[0]} - {"step", "best"}
    for name, source in (("loss", steps), ("wait", steps), ("val_loss", rows), ("top1", rows)):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)) for row in source]

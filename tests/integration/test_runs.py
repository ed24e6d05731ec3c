"""`vit run`: runs beside one another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.conftest import Run, is_refused


@pytest.mark.slow
def test_runs_are_listed_and_compared(vit: Run, recipe: Path, tmp_path: Path) -> None:
    short = ("-q", "train.steps=3", "eval.every=1 steps", "model.depth=1")
    assert vit("train", recipe, *short, "--name", "one").code == 0
    assert vit("train", recipe, *short, "--name", "two", "optim.lr=5e-4", "train.ema=null").code == 0
    (tmp_path / "runs/wreck/checkpoints").mkdir(parents=True)
    listed = json.loads(vit("run", "list", "--json").out)
    assert [run["state"] for run in listed] == ["finished", "finished", "broken"]
    one, two = (run["path"] for run in listed[:2])
    for run in listed[:2]:
        assert (run["model"], run["res"], run["metric"], run["epochs"]) == ("vit 32x1/8", "32x32", "top1", 0.8)
        summary = json.loads(Path(run["path"], "summary.json").read_text())
        assert (run["score"], run["seconds"]) == (summary["best_top1"], summary["train_seconds"])
    lines = vit("run", "list").out.splitlines()
    assert lines[0].split() == ["run", "state", "model", "res", "best", "epochs", "time", "size"]
    assert len(lines) == 4

    result = vit("run", "compare", one, two, "--json", "--out", "curves.png")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["settings"] == {"optim.lr": [0.002, 0.0005], "train.ema": [{"decay": 0.9, "warmup": True}, None]}
    assert facts["results"]["top1"] == [run["score"] for run in listed[:2]]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 1000
    text = vit("run", "compare", one, two).out
    assert text.splitlines()[1].split() == ["optim.lr", "0.002", "0.0005"]
    assert "the recipes are equal" in vit("run", "compare", one, one).err
    other = vit("train", "digits_small", *short, "--name", "three", "train.epochs=null")
    assert other.code == 0, other.err
    (three,) = (run["path"] for run in json.loads(vit("run", "list", "--json").out) if run["run"].endswith("three"))
    settings = json.loads(vit("run", "compare", one, three, "--json").out)["settings"]
    assert "data.train.name" in settings
    assert all(before != after for before, after in settings.values()), "an absent key is equal to one that is off"
    assert is_refused(vit("run", "compare", one, tmp_path / "runs/wreck"), 2, "is no run folder")
    assert is_refused(vit("run", "compare", one), 2, "two runs or more")

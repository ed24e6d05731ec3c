"""`vit checkpoint show` and `vit checkpoint hash`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vit_cli.checkpoint.commit import point
from vit_cli.checkpoint.file import digest, read_checkpoint, write_checkpoint
from vit_cli.checkpoint.model import write_model
from vit_cli.cli.checkpoint import hash as hash_
from vit_cli.cli.checkpoint import show
from vit_cli.errors import CheckpointError

ABOUT = {
    "task": "classification",
    "model": {"name": "vit", "width": 8, "size": None},
    "res": [8, 12],
    "class_names": ["cat", "d\x1b[31mog", *(f"class {i}" for i in range(20))],
    "preprocess": {"crop": 0.875},
    "vit_version": "1.2.3",
}


def content(step: int = 4, **changes: Any) -> dict[str, Any]:
    torch.manual_seed(step)
    state = {"step": step, "best_score": 87.5, "best_step": 2, "finished": False}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}}
    return {
        "model": {"w": torch.randn(1000, 1000)},
        "ema": {},
        "optimizer": optimizer,
        "state": state,
        "about": ABOUT,
    } | changes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three checkpoints."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for step in (4, 8, 12):
        write_checkpoint(folder / f"step-{step:06d}.pt", content(step))
    point(folder / "last.pt", folder / "step-000012.pt")
    return folder.parent


def shown(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, str]:
    show(path)
    lines = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    return dict(lines)


def test_show_tells_what_a_checkpoint_holds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "checkpoints/step-000008.pt"
    assert shown(capsys, path) == {
        "checkpoint": str(path),
        "format": "version 1, written by vit 1.2.3",
        "step": "8",
        "best": "top-1 87.50 % at step 2",
        "model": "vit, width 8",
        "res": "8x12",
        "classes": "22 classes: cat, dog, class 0, class 1, class 2, class 3, class 4, class 5 and 14 more",
        "weights": "1.00 M",
        "tensors": "2",
        "size": f"{path.stat().st_size / 2**20:.1f} MiB",
        "digest": digest(read_checkpoint(path)),
    }


def test_show_is_one_json_document_on_demand(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(run, json=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    facts = json.loads(out)
    assert facts["class_names"] == ABOUT["class_names"]
    assert (facts["step"], facts["finished"], facts["parameters"], facts["tensors"]) == (12, False, 1_000_000, 2)


def test_of_a_run_the_newest_readable_checkpoint_counts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hash_(run)
    assert capsys.readouterr() == (digest(content(12)) + "\n", "")
    (run / "checkpoints/step-000012.pt").write_bytes(b"cut off")
    hash_(run, json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": str(run / "checkpoints/step-000008.pt"), "digest": digest(content(8))}
    assert "step-000012.pt" in err


def test_a_run_of_which_only_last_was_kept_is_known_by_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints/step-000012.pt").replace(run / "checkpoints/last.pt")
    for path in (run / "checkpoints").glob("step-*.pt"):
        path.unlink()
    hash_(run)
    assert capsys.readouterr().out == digest(content(12)) + "\n"


def test_a_model_folder_has_a_digest_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "model", content()["model"], ABOUT)
    facts = shown(capsys, tmp_path / "model")
    assert facts["checkpoint"] == str(tmp_path / "model/model.safetensors")
    assert facts["weights"] == "1.00 M"
    assert "step" not in facts
    hash_(tmp_path / "model")
    assert capsys.readouterr().out.strip() == facts["digest"] == digest({"model": content()["model"], "about": ABOUT})


@pytest.mark.parametrize(
    "changes", [{"state": 5}, {"state": {"step": "x", "best_score": [], "best_step": "y"}}, {"optimizer": None}]
)
def test_strange_facts_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    write_checkpoint(tmp_path / "a.pt", content(**changes))
    facts = shown(capsys, tmp_path / "a.pt")
    assert facts["weights"] == "1.00 M"
    assert facts.get("step") in (None, "4")


def test_a_place_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    for path in (tmp_path, tmp_path / "nowhere.pt", tmp_path / "run"):
        for command in (show, hash_):
            with pytest.raises(CheckpointError, match="there is no checkpoint"):
                command(path)
    write_checkpoint(tmp_path / "a.pt", {"model": {}, "ema": {}})
    with pytest.raises(CheckpointError, match="lacks about"):
        show(tmp_path / "a.pt")

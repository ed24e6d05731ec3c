"""The result of a run in its folder: a small file that is there when the run is done, and stays when the rest goes."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import Any

from vit_cli.document import read_row
from vit_cli.train.describe import count_train_flops
from vit_cli.train.folder import RunFolder
from vit_cli.train.wire import Run

RESULT = "result.json"
KEPT = (RESULT, "resolved.yaml")


def read_result(folder: RunFolder) -> dict[str, Any] | None:
    """Give the result of a finished run; None if there is none that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        result: dict[str, Any] = json.loads((folder.path / RESULT).read_text(encoding="utf-8"))
        return result | {"scores": read_row(result["scores"])}
    return None


def forget_end(folder: RunFolder) -> None:
    """Before a run is trained again: its result stays, but weights that come before the new end don't belong to it."""
    (folder.path / "status.json").unlink(missing_ok=True)
    if read_result(folder) is not None:
        folder.write_json(RESULT, folder.read_json(RESULT) | {"weights": False})


def write_result(run: Run, digest: str, keeps_weights: bool) -> dict[str, Any]:
    """Write down what came out of a finished run, remove all else but the best weights if they are kept, and give the result."""
    folder = run.folder
    result = {
        "digest": digest,
        "scores": run.journal.last_row(),
        "losses": read_losses(folder),
        "seconds": round(run.clock.seconds, 2),
        "parameters": sum(parameter.numel() for parameter in run.parameters),
        "train_flops": count_train_flops(run)[0],
        "images": [len(run.splits.train), len(run.splits.val)],
        "vit_version": run.about["vit_version"],
        "weights": keeps_weights,
    }
    folder.write_json(RESULT, result)
    for path in folder.path.iterdir():
        if path.name not in (*KEPT, "lock", *(["model"] if keeps_weights else [])):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return result


def read_losses(folder: RunFolder) -> list[list[float]]:
    """Give [epoch, loss] of every logged step."""
    steps = folder.path / "steps.jsonl"
    lines = [json.loads(line) for line in steps.read_text(encoding="utf-8").splitlines()] if steps.exists() else []
    return [[line["epoch"], round(line["loss"], 4)] for line in lines if line["loss"] is not None]

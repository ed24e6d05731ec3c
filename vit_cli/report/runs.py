"""The runs in a folder, a line for each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from vit_cli.errors import UsageError
from vit_cli.metrics.names import MAIN
from vit_cli.report.record import Record, read_object, read_record
from vit_cli.train.folder import RunFolder

BROKEN, RESULT = "broken", "result.json"
TRACES = ("recipe.yaml", "resolved.yaml", "status.json", "checkpoints")
"""What tells a run folder from any other, even if most of it is gone."""


class Summary(NamedTuple):
    """A run in a line; what it does not tell is None, `score` is the best of its task's main one, `bytes` are on disk."""

    run: str
    path: str
    state: str
    model: str | None
    res: str | None
    metric: str | None
    score: float | None
    epochs: float | None
    seconds: float | None
    bytes: int
    begun: str


def list_runs(place: Path) -> list[Summary]:
    """Give the runs in a folder, the newest last; a folder that can't be understood is listed as broken.

    Raises UsageError if there is no such folder.
    """
    if not place.is_dir():
        raise UsageError(f"there is no folder {place}", "Start a run first: vit train digits")
    folders = [path for path in place.iterdir() if path.is_dir() and not path.is_symlink()]
    runs = [summarise(path) for path in folders if any((path / trace).exists() for trace in TRACES)]
    return sorted(runs, key=lambda run: (run.begun, run.run))


def summarise(path: Path) -> Summary:
    """Describe a run folder, whatever is in it."""
    try:
        return describe_run(read_record(RunFolder(path)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # files that hold anything at all
        unknown = dict.fromkeys(("model", "res", "metric", "score", "epochs", "seconds"))
        place = str(path.absolute())
        return Summary(path.name, place, BROKEN, bytes=count_bytes(path), begun=read_time(path), **unknown)


def describe_run(record: Record) -> Summary:
    """Describe a run as far as its files tell; a finished one of a study has its last scores, and little else."""
    recipe, result = record.plain_recipe, read_object(record.path / RESULT) or {}
    best = record.best or result.get("scores", {})
    metric = MAIN[recipe.get("task", record.task_name)]
    res = record.config.get("res") or recipe.get("model", {}).get("res")
    is_broken = record.damaged or not recipe
    return Summary(
        run=record.path.name,
        path=str(record.path.absolute()),
        state=BROKEN if is_broken else "finished" if result else record.state,
        model=name_model(recipe.get("model") or {}),
        res="x".join(map(str, res if isinstance(res, list) else (res, res))) if res else None,
        metric=metric if metric in best else None,
        score=best.get(metric),
        epochs=best.get("epoch") if result else record.epochs,
        seconds=record.summary.get("train_seconds", result.get("seconds")),
        bytes=count_bytes(record.path),
        begun=read_time(record.path),
    )


def name_model(section: dict[str, Any]) -> str | None:
    """Name a model shortly: `vit small/16`, `vit 64x4/4` by width and depth, `resnet 50`."""
    if not section:
        return None
    sides = [str(section[key]) for key in ("width", "depth") if section.get(key)]
    size = str(section["size"]) if section.get("size") else "x".join(sides)
    patch = f"/{section['patch']}" if section.get("patch") else ""
    return f"{section.get('name', 'vit')} {size}{patch}".strip()


def count_bytes(folder: Path) -> int:
    """Count what the files of a folder take; links count nothing."""
    files = (path for path in folder.rglob("*") if not path.is_symlink() and path.is_file())
    return sum(path.stat().st_size for path in files)


def read_time(folder: Path) -> str:
    """Tell when a run began: when its recipe was written, else when its folder was last changed."""
    recipe = folder / "recipe.yaml"
    seconds = (recipe if recipe.is_file() else folder).stat().st_mtime
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")

"""The run folder: where everything of one run lies, and the link `runs/latest`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vit_cli.checkpoint.commit import commit, commit_json, point, told
from vit_cli.checkpoint.model import CONFIG, WEIGHTS
from vit_cli.dist.place import name_job
from vit_cli.errors import TrainingError, UsageError

RUNS = Path("runs")
LEFT_ASIDE = ".*.[0-9]*"
"""Names of files that were being written: beside their own, hidden, with the numbers of the process and the thread."""
LONGEST_NAME = 200
"""Bytes; file systems allow 255, and the time stands in front."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.pt"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.pt"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def resolved(self) -> Path:
        return self.path / "resolved.yaml"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def write_log(self, text: str) -> None:
        """Append a line with the time to train.log; what would command a terminal is written as its code."""
        plain = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
        append(self.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {plain}")

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        commit(self.path / name, lambda aside: aside.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the folder, whole or not at all."""
        commit_json(self.path / name, content, indent=2)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the folder; an absent one is empty."""
        path = self.path / name
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return content

    def write_status(self, status: str, **facts: Any) -> None:
        """Say how the run stands: running, finished, interrupted or failed."""
        heartbeat = datetime.now().astimezone().isoformat(timespec="seconds")
        self.write_json("status.json", {"status": status, "heartbeat": heartbeat, "pid": os.getpid(), **facts})


def choose_folder(name: str, out: Path | None, overwrite: bool) -> Path:
    """Choose the path of a new run: `runs/<time>_<name>`, or `out`, which must be empty or absent unless `overwrite`.

    Raises UsageError if the place is taken, or `name` is no plain name of a folder.
    """
    is_plain = name not in ("", "..") and Path(name).name == name and name.isprintable()
    if not is_plain or len(os.fsencode(name)) > LONGEST_NAME:
        raise UsageError(
            f"--name {name} can't be part of a folder's name", "Write a plain name; --out names a place elsewhere."
        )
    if out is not None and not str(out).isprintable():
        raise UsageError(f"--out {out} holds characters that can't be shown", "Name another folder.")
    if out is None:
        out = RUNS / f"{time.strftime('%Y-%m-%d_%H%M%S')}_{name}"
        while out.exists():
            out = out.with_name(out.name + "_1")
    elif out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "Name another folder.")
    elif out.is_dir() and not is_unbegun(out) and not overwrite:
        raise UsageError(f"{out} is not empty", "Name another folder, or add --overwrite.")
    return out.absolute()


def reserve_folder(name: str, out: Path | None, overwrite: bool) -> RunFolder:
    """Make the empty folder of a new run, which no other run takes then.

    Raises UsageError if the place is taken or can't be written.
    """
    path = choose_folder(name, out, overwrite)
    try:
        while out is None and path.exists():
            path = path.with_name(path.name + "_1")
        path.mkdir(parents=True, exist_ok=out is not None)
    except OSError as error:
        if out is None and path.exists():  # another run was faster
            return reserve_folder(name, out, overwrite)
        raise UsageError(f"{path} can't be made: {error.strerror}", "Name another place with --out.") from error
    return RunFolder(path)


def release_folder(folder: RunFolder) -> None:
    """Remove a reserved folder that nothing was written to, and `runs` if it is empty then."""
    with suppress(OSError):
        folder.path.rmdir()
        RUNS.rmdir()


def append(path: Path, line: str) -> None:
    """Append a line to a file; TrainingError if the disk is full."""
    with told(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def make_folder(folder: RunFolder) -> None:
    """Make the folder and point `runs/latest` to it; of a run that it overwrites, remove what `clear` names, no more.

    Raises UsageError if it can't be written, or would be elsewhere: nothing is removed where a link leads.
    """
    pictures = (folder.path / name for name in ("plots", "samples", "inspect"))
    for place in (folder.checkpoints, folder.model, *pictures):
        if place.is_symlink():
            raise UsageError(f"{place} is a link to a folder elsewhere", "Remove the link, or name another --out.")
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        mark_latest(folder.path)
        clear(folder)
    except OSError as error:
        raise UsageError(f"{folder.path} can't be made: {error.strerror}", "Name another place with --out.") from error


def clear(folder: RunFolder) -> None:
    """Remove weights, journals and pictures of an overwritten run, so that nothing of it is mistaken for the new one's."""
    journals = (
        "metrics.csv",
        "steps.jsonl",
        "nonfinite.jsonl",
        "bad_images.jsonl",
        "train.log",
        "summary.json",
        "start.json",
        "track.json",
        "evaluation.json",
        "report.html",
        "README.md",
        *(f"plots/{name}.png" for name in ("curves", "confusion_matrix", "reliability", "scatter")),
        *(f"samples/{name}.png" for name in ("train_batch", "predictions", "worst")),
    )
    inspected = folder.path / "inspect/inspect.json"
    learned = [*inspected.parent.glob("*.png"), inspected] if inspected.is_file() else []
    weights = [*folder.checkpoints.glob("*.pt"), folder.model / CONFIG, folder.model / WEIGHTS]
    for old in [*weights, *learned, *(folder.path / name for name in journals)]:
        old.unlink(missing_ok=True)


def mark_latest(path: Path) -> None:
    """Point `runs/latest` at a run; UsageError where the current directory can't be written."""
    try:
        RUNS.mkdir(exist_ok=True)
        point(RUNS / "latest", path)
    except (OSError, TrainingError) as error:
        raise UsageError(
            f"{RUNS.absolute() / 'latest'} can't be made to point to the run",
            "Start from a folder that you can write in.",
        ) from error


def find_begun(out: Path | None, resolved: str) -> RunFolder | None:
    """Give the run of the recipe `resolved` that this very job began before its launcher started it anew, at `out` if given."""
    job = name_job()
    found = [out] if out else sorted(RUNS.glob("*/resolved.yaml"), reverse=True)
    for path in found:
        folder = RunFolder((path if out else path.parent).resolve())
        is_ours = job is not None and folder.read_json("env.json").get("job") == job
        if is_ours and folder.resolved.is_file() and folder.resolved.read_text(encoding="utf-8") == resolved:
            return folder
    return None


def is_unbegun(folder: Path) -> bool:
    """Tell whether a folder is empty, or holds only what a run leaves that was killed before it was set up."""
    left = {"lock", "recipe.yaml", "checkpoints"}
    names = {path.name for path in folder.iterdir() if not path.match(LEFT_ASIDE)}
    return names <= left and not any((folder / "checkpoints").glob("*"))


def find_run(path: Path | None) -> RunFolder:
    """Give the run folder at `path`, or the latest; UsageError if there is none."""
    chosen = path or RUNS / "latest"
    if not (chosen / "resolved.yaml").is_file():
        if path is None:
            raise UsageError("there is no run here yet: runs/latest is missing", "Start one: vit train digits")
        raise UsageError(f"{path} is no run folder: it has no resolved.yaml")
    return RunFolder(chosen.resolve())

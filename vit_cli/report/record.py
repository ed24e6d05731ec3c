"""`Record`: what a run folder tells about its run, as far as its files are there."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from vit_cli.errors import VitError
from vit_cli.metrics.names import MAIN
from vit_cli.metrics.task import Task
from vit_cli.metrics.tasks import make_task
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.plain import read_section
from vit_cli.report.shapes import SHAPES, fits
from vit_cli.section import Scale, TaskName
from vit_cli.train.folder import RunFolder
from vit_cli.train.lock import find_owner

Numbers = dict[str, float]


@dataclass(frozen=True)
class Record:
    """The files of a run; an absent one is empty."""

    path: Path
    recipe: str
    resolved: str
    plan: dict[str, Any]
    env: dict[str, Any]
    status: dict[str, Any]
    summary: dict[str, Any]
    config: dict[str, Any]
    start: dict[str, Any]
    evaluation: dict[str, Any]
    rows: list[Numbers]
    damaged: tuple[str, ...]
    """Files that are there and can't be read, or hold something else than a run writes."""
    is_alive: bool
    """Whether a process trains in the folder now."""

    @property
    def name(self) -> str:
        """The run's name without the time in front."""
        return re.sub(r"^\d{4}-\d\d-\d\d_\d{6}_", "", self.path.name)

    @property
    def command(self) -> str:
        """The command that started the run, or nothing if the recipe doesn't tell."""
        first = self.recipe.partition("\n")[0]
        return first[2:].strip() if first.startswith("# vit ") else ""

    @property
    def state(self) -> str:
        """How the run stands: running, crashed, interrupted, failed, finished, or unknown if it does not tell."""
        said: str = self.status.get("status", "unknown")
        return "crashed" if said == "running" and not self.is_alive else said

    @cached_property
    def plain_recipe(self) -> dict[str, Any]:
        """The recipe with every default, as plain values; empty if this vit can't read it and no weights carry it."""
        if not self.resolved:
            return self.config.get("recipe") or {}
        with suppress(VitError):
            return load_recipe(self.path / "resolved.yaml").recipe.model_dump(mode="json")
        return self.config.get("recipe") or {}

    @property
    def class_names(self) -> list[str]:
        names: list[str] = self.config.get("class_names", [])
        return names

    @property
    def task(self) -> Task | None:
        """What the model tells about an image; None if there is no model yet."""
        if not self.class_names:
            return None
        scale = read_section(Scale, self.config["scale"]) if "scale" in self.config else None
        return make_task(self.task_name, self.class_names, scale)

    @property
    def task_name(self) -> TaskName:
        """The name of the task; that of a run without a model shows in its scores."""
        columns = self.rows[0] if self.rows else {}
        found: TaskName = next((name for name, score in MAIN.items() if score in columns), "classification")
        return self.config.get("task", found)

    @property
    def best(self) -> Numbers:
        """The best row of metrics.csv, or nothing."""
        marked = [row for row in self.rows if row.get("best")]
        main = MAIN[self.task_name]
        return marked[-1] if marked else max(self.rows, key=lambda row: row.get(main, -math.inf), default={})

    @property
    def epochs(self) -> float | None:
        """How long it was trained, in epochs, as far as it tells."""
        last = self.rows[-1]["epoch"] if self.rows else None
        return self.summary.get("epochs", last)

    @cached_property
    def speed(self) -> float | None:
        """The median of the images per second over the log, which no pause of the machine can move."""
        rows = read_steps(self.path / "steps.jsonl") or self.rows
        speeds = [row["images_per_second"] for row in rows if math.isfinite(row.get("images_per_second", math.nan))]
        return median(speeds) if speeds else None

    @property
    def best_step(self) -> int:
        """The step of the weights in `model/`; 0 before there are any."""
        return int(self.best.get("step", 0))


def read_record(folder: RunFolder) -> Record:
    """Read all that a run folder tells; what is damaged counts as absent, and is named."""
    found = {name: read_object(folder.path / name, shape) for name, shape in SHAPES.items()}
    return Record(
        path=folder.path,
        recipe=read_text(folder.path / "recipe.yaml"),
        resolved=read_text(folder.resolved),
        **{Path(name).stem: content or {} for name, content in found.items()},
        rows=read_metrics(folder.path / "metrics.csv"),
        damaged=tuple(name for name, content in found.items() if content is None),
        is_alive=find_owner(folder.path) is not None,
    )


def read_object(path: Path, shape: Any = dict[str, Any]) -> dict[str, Any] | None:
    """Read a JSON object; an absent file is empty, one that is damaged or of another shape None."""
    if not path.is_file():
        return {}
    try:
        content = path.read_bytes()
        return json.loads(content) if fits(content, shape) else None
    except (OSError, ValueError):
        return None


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def read_metrics(path: Path) -> list[Numbers]:
    """Read metrics.csv in order of the steps; a last line cut short by a crash is left out."""
    lines = read_text(path).replace("\0", "").splitlines()  # of a file that a lost machine left without content
    return readable(lambda cells: {key: as_number(value) for key, value in cells.items()}, csv.DictReader(lines))


def read_steps(path: Path) -> list[Numbers]:
    """Read steps.jsonl in order of the steps, without numbers that were not finite and a last line cut short by a crash."""
    lines = read_text(path).splitlines()
    return readable(lambda line: {key: value for key, value in json.loads(line).items() if value is not None}, lines)


def readable(read: Callable[[Any], Numbers], lines: Iterable[Any]) -> list[Numbers]:
    """Read each of `lines` and put them in order of their steps; skip what can't be read or has no step."""
    rows = []
    for line in lines:
        with suppress(ValueError, TypeError, AttributeError, KeyError):
            row = read(line)
            rows.append((float(row["step"]), row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def as_number(text: str) -> float:
    return float(text == "True") if text in ("True", "False") else float(text)

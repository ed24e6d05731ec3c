"""Two or more runs against one another: what they do otherwise, what they reach, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vit_cli.errors import UsageError
from vit_cli.inspect.style import BLUE, FAINT, GREEN, ORANGE, RED, VIOLET, drawing, save, shorten
from vit_cli.metrics.names import MAIN, SCORES, says_something
from vit_cli.recipe.difference import differences
from vit_cli.report.curves import Line, Panel, draw_panel
from vit_cli.report.facts import gather_scores
from vit_cli.report.judged import read_evaluation
from vit_cli.report.record import Record, read_record
from vit_cli.train.folder import RunFolder

COLORS = (BLUE, ORANGE, GREEN, VIOLET, RED, FAINT)
LONGEST_NAME = 40


class Comparison(NamedTuple):
    """Runs with short names, the keys of their recipes that differ, with a value for each run, and what they reached."""

    names: list[str]
    settings: dict[str, list[Any]]
    results: dict[str, list[float | None]]
    records: list[Record]


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compare the recipes and results of two or more runs.

    Raises UsageError for a folder that is no run, or whose recipe is damaged.
    """
    records = [read_record(RunFolder(path.resolve())) for path in paths]
    for path, record in zip(paths, records, strict=True):
        if not record.plain_recipe:
            raise UsageError(
                f"{path} is no run folder, or its resolved.yaml is damaged", "vit run list shows the runs."
            )
    recipes = [record.plain_recipe for record in records]
    keys: dict[str, list[Any]] = {}
    for recipe in recipes[1:]:
        for one in differences(recipes[0], recipe):
            keys.setdefault(one.key, [])
    settings = {key: values for key in keys if differ(values := [find_value(recipe, key) for recipe in recipes])}
    scores = [gather_scores(record, read_evaluation(record)) for record in records]
    classes = [len(record.class_names) for record in records]
    told = dict.fromkeys(name for one in scores for name in one if any(says_something(name, few) for few in classes))
    results = {name: [one.get(name) for one in scores] for name in told}
    return Comparison(name_apart(records), settings, results | describe_costs(records), records)


def differ(values: Sequence[Any]) -> bool:
    """Tell whether values differ; a key that is not there counts as one that is off."""
    return any(value != values[0] for value in values)


def find_value(plain: Any, key: str) -> Any:
    """Follow a dotted key through sections and lists; None where there is nothing."""
    for part in key.split("."):
        if isinstance(plain, list):
            plain = plain[int(part)] if part.isdecimal() and int(part) < len(plain) else None
        else:
            plain = plain.get(part) if isinstance(plain, dict) else None
    return plain


def describe_costs(records: Sequence[Record]) -> dict[str, list[float | None]]:
    """Tell what each run took: parameters, seconds, and the middle of its images per second."""
    return {
        "epochs": [record.epochs for record in records],
        "parameters": [record.summary.get("parameters") for record in records],
        "train_seconds": [record.summary.get("train_seconds") for record in records],
        "images_per_second": [record.speed for record in records],
    }


def name_apart(records: Sequence[Record]) -> list[str]:
    """Give each run a name: that of its folder without the time, where these differ; else more of its path."""
    full, short = [record.path.name for record in records], [record.name for record in records]
    names = short if len(set(short)) == len(short) else full
    return names if len(set(names)) == len(names) else [str(record.path) for record in records]


def draw_comparison(compared: Comparison, out_png: Path) -> None:
    """Draw how the main score and the validation loss of each run went. Raises UsageError for more runs than colours."""
    if len(compared.records) > len(COLORS):
        raise UsageError(f"{len(compared.records)} runs have no room in one plot", f"Compare up to {len(COLORS)}.")
    main = MAIN[compared.records[0].task_name]
    panels = [
        Panel(title, [
            Line(record.rows, key, shorten(name, LONGEST_NAME), color)
            for name, record, color in zip(compared.names, compared.records, COLORS, strict=False)
        ])
        for key, title in ((main, SCORES[main].label + " (%)" * SCORES[main].in_percent), ("val_loss", "Validation loss"))
    ]  # fmt: skip
    panels = [panel for panel in panels if any(line.points for line in panel.lines)]
    if not panels:
        raise UsageError("none of these runs was evaluated yet", "Leave --out away.")
    with drawing():
        figure = Figure(figsize=(5.5 * len(panels), 3.6), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        for number, panel in enumerate(panels, start=1):
            draw_panel(figure.add_subplot(1, len(panels), number), panel)
        save(figure, out_png)

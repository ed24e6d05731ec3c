"""report.html: one page with everything in it, that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.metrics.names import SCORES, WORDS, says_something
from vit_cli.recipe.difference import show as show_value
from vit_cli.report.confusion import WITH_COUNTS, Pair
from vit_cli.report.facts import (
    commands,
    describe_environment,
    describe_plan,
    describe_recipe,
    describe_state,
    headline,
)
from vit_cli.report.html import (
    fold,
    section,
    show_charts,
    show_code,
    show_facts,
    show_note,
    show_numbers,
    show_picture,
    show_table,
    show_tiles,
)
from vit_cli.report.origin import compare_with_shipped, describe_start, list_phases
from vit_cli.report.pictures import BEST, read_tiles
from vit_cli.report.record import Record

LARGEST_SHEET, LARGEST_PICTURES = 350_000, 700_000
"""Bytes of one sheet of samples, and of all pictures of what the model learned: the page stays below 3 MB."""
MOST_ROWS, MOST_CLASSES, MOST_CHANGES, FEW = 200, 1000, 40, 15
COLUMNS = {
    "step": ("step", "{:,.0f}"),
    "epoch": ("epoch", "{:.4g}"),
    "train_loss": ("train loss", "{:.4f}"),
    "val_loss": ("val loss", "{:.4f}"),
    **{name: (score.label, score.form) for name, score in SCORES.items()},
    "lr": ("lr", "{:.2e}"),
    "images_per_second": ("img/s", "{:,.0f}"),
    "wait": ("wait", "{:.0%}"),
    "memory_gib": ("GiB", "{:.1f}"),
}
EACH = {"classification": "f1", "multilabel": "f1", "regression": "r2"}
"""What classes, labels and targets are put in order by, the worst first."""
SHORT = {"f1": "F1", "ap": "AP"}
STYLE = Path(__file__).parent / "page.css"


@dataclass(frozen=True)
class Charts:
    """What was drawn for the page, as SVG."""

    curves: Sequence[str] = ()
    confusion: str = ""
    pairs: Sequence[Pair] = ()
    reliability: str = ""


def write_page(record: Record, evaluation: Evaluation | None, charts: Charts, judged: Path | None = None) -> str:
    """Write the report of a run as one HTML document, under 3 MB.

    Pictures are those that the run folder has; those of an evaluation lie in the folder `judged` if it is given.
    """
    word, judged = WORDS[record.task_name], judged or record.path
    parts = {
        "numbers": ("Results", show_numbers(headline(record, evaluation))),
        "curves": ("Curves", show_charts(charts.curves)),
        "start": ("Where it started", show_facts(describe_start(record))),
        "phases": ("Phases", show_phases(record)),
        "confusion": ("Confusion", show_confusion(charts, is_large=len(record.class_names) > WITH_COUNTS)),
        "calibration": ("Calibration", f"<div class=matrix>{charts.reliability}</div>" if charts.reliability else ""),
        "scatter": ("Predicted and true", show_picture(judged / "plots/scatter.png", "", "plot", LARGEST_SHEET)),
        "each": (word.capitalize(), show_each(record, evaluation)),
        "worst": ("Worst mistakes", show_sheet(judged / "samples/worst.png")),
        "predictions": ("Predictions", show_sheet(judged / "samples/predictions.png")),
        "batch": ("What the model saw while training", show_sheet(record.path / "samples/train_batch.png")),
        "learned": ("What the model learned", show_learned(record.path / "inspect")),
        "evaluations": ("Evaluations", show_rows(record)),
        "recipe": ("Recipe", show_recipe(record)),
        "plan": ("Plan", show_facts(describe_plan(record))),
        "environment": ("Environment", show_facts(describe_environment(record))),
        "commands": ("How to use and reproduce it", show_commands(record)),
    }
    there = {name: (title, body) for name, (title, body) in parts.items() if body}
    contents = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, (title, _) in there.items())
    sections = "\n".join(section(name, title, body) for name, (title, body) in there.items())
    return PAGE.format(
        title=escape(record.name),
        style=STYLE.read_text(encoding="utf-8"),
        contents=contents,
        body=show_head(record) + sections,
    )


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
{body}
</main>
</body>
</html>
"""


def show_head(record: Record) -> str:
    """Name the run and say how it stands."""
    state, said = record.state, describe_state(record)
    badge = f'<span class="badge {escape(state)}">{escape(state)}</span>'
    folder = show_note(record.path.name) if record.path.name != record.name else ""
    head = f"<header><h1>{escape(record.name)} {badge}</h1>{folder}</header>\n"
    return head + (f"<p class=state>{escape(said)}</p>\n" if said else "")


def show_phases(record: Record) -> str:
    """Show what training saw of its images, and when."""
    head = ["steps", "pixels", "patches kept", "share of the steps"]
    return show_table(head, list_phases(record), [False, True, True, True])


def show_confusion(charts: Charts, is_large: bool) -> str:
    """Show the confusion matrix, and which classes are taken for which."""
    lines = [[pair.true, pair.predicted, f"{pair.times:,} of {pair.images:,}"] for pair in charts.pairs]
    table = show_table(["true class", "taken for", "images"], lines, [False, False, True])
    size = "large matrix" if is_large else "matrix"
    chart = f'<div class=wide><div class="{size}">{charts.confusion}</div></div>'
    return f"<div{'' if is_large else ' class=beside'}>{chart}{table}</div>" if charts.confusion else ""


def show_each(record: Record, evaluation: Evaluation | None) -> str:
    """Show the scores of each class, label or target, the worst first."""
    rows = evaluation.per_class if evaluation else ()
    if not rows:
        return ""
    key = EACH[record.task_name]
    worst = sorted(rows, key=lambda row: float(row[key]))[:MOST_CLASSES]
    columns = [name for name in worst[0] if name != key] + [key]
    head = [SCORES[name].label if name in SCORES else SHORT.get(name, name) for name in columns]
    lines = [[write_cell(row[name], name) for name in columns] for row in worst]
    unit = 1 if record.task_name == "regression" else 100
    shares = [min(max(float(row[key]) / unit, 0), 1) for row in worst]
    numeric = [False] + [True] * (len(head) - 1)
    first = show_table(head, lines[:FEW], numeric, shares=shares[:FEW])
    rest = show_table(head, lines[FEW:], numeric, shares=shares[FEW:])
    note = f"The worst of {len(rows):,} first" + (", in per cent." if unit == 100 else ".")
    return show_note(note) + first + fold(f"{len(lines) - FEW:,} more", rest)


def write_cell(value: float | int | str, name: str) -> str:
    """Write a score of a class, label or target."""
    if isinstance(value, float):
        return SCORES[name].form.format(value) if name in SCORES else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else value


def show_sheet(path: Path) -> str:
    """Show the pictures of a sheet one by one; a sheet of an older vit as it is."""
    if not path.is_file():
        return ""
    with suppress(OSError):
        for quality in (BEST, 70, 50, 30):
            title, tiles = read_tiles(path, quality)
            if sum(len(tile.content) for tile in tiles) <= LARGEST_SHEET:
                return show_tiles(title, tiles) or show_picture(path, path.stem, "photo", LARGEST_SHEET)
    return show_picture(path, path.stem, "photo", LARGEST_SHEET)


def show_learned(folder: Path) -> str:
    """Show the pictures that `vit inspect` left in the run folder; where a page is narrow they scroll sideways."""
    paths = sorted(folder.glob("*.png"))
    limit = share_evenly([path.stat().st_size for path in paths], LARGEST_PICTURES)
    return "".join(show_picture(path, path.stem.replace("_", " "), "photo wide", limit) for path in paths)


def share_evenly(sizes: Sequence[int], total: int) -> int:
    """Give the limit of each size with which all together are up to `total`: what small ones leave is for the large ones."""
    left = total
    for place, size in enumerate(sorted(sizes)):
        limit = left // (len(sizes) - place)
        if size > limit:
            return limit
        left -= size
    return total


def show_rows(record: Record) -> str:
    """Show the evaluations: all, or of very many an even choice with the last and the best one."""
    rows, best, classes = record.rows, record.best, len(record.class_names)
    every = max(1, -(-len(rows) // MOST_ROWS))
    chosen = [row for number, row in enumerate(reversed(rows)) if number % every == 0 or row is best][::-1]
    columns = [key for key in COLUMNS if any(key in row for row in rows) and says_something(key, classes)]
    lines = [[COLUMNS[key][1].format(row[key]) if key in row else "" for key in columns] for row in chosen]
    table = show_table(
        [COLUMNS[key][0] for key in columns], lines, [True] * len(columns), [row is best for row in chosen]
    )
    note = show_note(f"One in {every} of {len(rows):,} evaluations; metrics.csv has all.") if every > 1 else ""
    return note + (fold(f"{len(chosen)} rows", table) if len(chosen) > FEW else table)


def show_recipe(record: Record) -> str:
    """Show what the run does otherwise than the shipped recipe, what it was told, and every setting."""
    changed = compare_with_shipped(record)
    parts = []
    if changed:
        lines = [[show_value(one.key), show_value(one.before), show_value(one.after)] for one in changed.differences]
        unlike = "What is not as in the shipped recipe" if lines else "All as in the shipped recipe"
        parts.append(show_note(f"{unlike} {changed.name}{':' if lines else '.'}"))
        table = show_table(["key", changed.name, "this run"], lines, [False, False, False])
        parts.append(fold(f"{len(lines)} settings", table) if len(lines) > MOST_CHANGES else table)
    parts.append(show_facts(describe_recipe(record)))
    parts.append(fold("The recipe as it was given", show_code(record.recipe)))
    parts.append(fold("Every setting (resolved.yaml)", show_code(record.resolved)))
    return "".join(parts)


def show_commands(record: Record) -> str:
    """Show what to type, and what for."""
    begun, use = {"How it was started": record.command} if record.command else {}, dict(commands(record))
    return show_purposes(begun) + show_note("From inside the run folder:" if use else "") + show_purposes(use)


def show_purposes(commands: Mapping[str, str]) -> str:
    """Show commands under what they are for."""
    lines = "".join(f"<dt>{escape(purpose)}</dt><dd>{show_code(line)}</dd>" for purpose, line in commands.items())
    return f"<dl class=commands>{lines}</dl>" if lines else ""

"""report.html: one page with everything in it, that needs no network and no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.metrics.names import SCORES, WORDS
from vit_cli.report.confusion import Pair
from vit_cli.report.facts import (
    commands,
    describe_environment,
    describe_plan,
    describe_recipe,
    describe_state,
    headline,
)
from vit_cli.report.record import Numbers, Record

LARGEST_PICTURE = 400_000
"""Bytes; a larger PNG travels as JPEG. Five such pictures make a page of less than 3 MB."""
MOST_ROWS = 200
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
STYLE = Path(__file__).parent / "page.css"


def write_page(record: Record, evaluation: Evaluation | None, pairs: Sequence[Pair]) -> str:
    """Write the report of a run as one HTML document, under 3 MB; pictures are those that the folder has."""
    name, state = escape(record.name), escape(describe_state(record))
    parts = [
        f"<header><h1>{name}</h1><p class=faint>{escape(record.path.name)}</p></header>",
        f"<p class=state>{state}</p>" if state else "",
        show_numbers(headline(record, evaluation)),
        section("Curves", show_picture(record.path / "plots/curves.png", "curves of the run", "plot")),
        section(
            "Confusion matrix",
            show_picture(record.path / "plots/confusion_matrix.png", "confusion matrix", "plot narrow"),
        ),
        section("Most frequent confusions", show_pairs(pairs)),
        section(
            "Predicted and true", show_picture(record.path / "plots/scatter.png", "predicted against true", "plot")
        ),
        section(WORDS[record.task_name].capitalize(), show_each(record, evaluation)),
        section("Predictions", show_picture(record.path / "samples/predictions.png", "sample predictions", "photo")),
        section(
            "Worst mistakes", show_picture(record.path / "samples/worst.png", "mistakes with the highest loss", "photo")
        ),
        section(
            "What the model saw while training",
            show_picture(record.path / "samples/train_batch.png", "a batch", "photo"),
        ),
        section("Evaluations", show_rows(record.rows, record.best)),
        section(
            "Recipe",
            show_facts(describe_recipe(record)) + fold("The whole recipe", show_code(record.resolved or record.recipe)),
        ),
        section("Plan", show_facts(describe_plan(record))),
        section("Environment", show_facts(describe_environment(record))),
        section("How to use and reproduce it", show_commands(record)),
    ]
    body = "\n".join(part for part in parts if part)
    return PAGE.format(title=name, style=STYLE.read_text(encoding="utf-8"), body=body)


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
<main>
{body}
</main>
</body>
</html>
"""


def section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}</section>" if body else ""


def show_numbers(numbers: Mapping[str, str]) -> str:
    """Show key numbers as tiles."""
    tiles = (f"<div><dd>{escape(value)}</dd><dt>{escape(label)}</dt></div>" for label, value in numbers.items())
    return f"<dl class=numbers>{''.join(tiles)}</dl>" if numbers else ""


def show_picture(path: Path, text: str, kind: str) -> str:
    """Put a picture into the page itself; it opens in full size by itself."""
    if not path.is_file():
        return ""
    kind_of_file, content = shrink(path.read_bytes())
    data = base64.b64encode(content).decode("ascii")
    with Image.open(path) as image:
        width, height = image.size
    source = f"data:image/{kind_of_file};base64,{data}"
    return f'<div class="{kind}"><img src="{source}" alt="{escape(text)}" width={width} height={height}></div>'


def shrink(png: bytes) -> tuple[str, bytes]:
    """Give the kind and the bytes of a picture: as it is, or if it is above LARGEST_PICTURE as JPEG, smaller if need be."""
    if len(png) <= LARGEST_PICTURE:
        return "png", png
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for quality, part in ((90, 1), (75, 1), (60, 1), (75, 2), (60, 4), (50, 8)):
        packed = io.BytesIO()
        image.reduce(part).save(packed, "JPEG", quality=quality)
        if packed.tell() <= LARGEST_PICTURE:
            break
    return "jpeg", packed.getvalue()


def show_pairs(pairs: Sequence[Pair]) -> str:
    """Show which classes are taken for which."""
    lines = [[pair.true, pair.predicted, f"{pair.times:,} of {pair.images:,}"] for pair in pairs]
    return show_table(["true class", "taken for", "images"], lines, [False, False, True])


def show_each(record: Record, evaluation: Evaluation | None) -> str:
    """Show the scores of each label or target; those of classes are in the confusion matrix."""
    rows = evaluation.per_class if evaluation and record.task_name != "classification" else ()
    lines = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()] for row in rows]
    head = list(rows[0]) if rows else []
    table = show_table(head, lines[:MOST_ROWS], [False] + [True] * (len(head) - 1)) if rows else ""
    return fold(f"{len(rows)} {WORDS[record.task_name]}", table) if len(rows) > 15 else table


def show_rows(rows: Sequence[Numbers], best: Numbers) -> str:
    """Show the evaluations: all, or of very many an even choice with the last and the best one."""
    every = max(1, -(-len(rows) // MOST_ROWS))
    chosen = [row for number, row in enumerate(reversed(rows)) if number % every == 0 or row is best][::-1]
    columns = [key for key in COLUMNS if any(key in row for row in rows)]
    lines = [[COLUMNS[key][1].format(row[key]) if key in row else "" for key in columns] for row in chosen]
    table = show_table(
        [COLUMNS[key][0] for key in columns], lines, [True] * len(columns), [row is best for row in chosen]
    )
    note = f"<p class=faint>Every {every}th of {len(rows):,} evaluations; metrics.csv has all.</p>" if every > 1 else ""
    return note + (fold(f"{len(chosen)} rows", table) if len(chosen) > 15 else table)


def show_table(
    head: Sequence[str], lines: Sequence[Sequence[str]], numeric: Sequence[bool], marked: Sequence[bool] = ()
) -> str:
    """Show a table that scrolls sideways by itself where it is too wide; no lines, no table."""
    kinds = [" class=number" if is_number else "" for is_number in numeric]
    top = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    body = ""
    for number, line in enumerate(lines):
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, line, strict=True))
        body += f"<tr{' class=best' if marked and marked[number] else ''}>{cells}</tr>\n"
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>" if lines else ""


def show_facts(facts: Mapping[str, str]) -> str:
    """Show names and values in two columns."""
    lines = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>\n" for key, value in facts.items())
    return f"<dl class=facts>{lines}</dl>" if facts else ""


def show_commands(record: Record) -> str:
    """Show what to type, and what for."""
    lines = "".join(f"<dt>{escape(purpose)}</dt><dd>{show_code(command)}</dd>" for purpose, command in commands(record))
    begun = f"<dl class=commands><dt>How it was started</dt><dd>{show_code(record.command)}</dd></dl>"
    use = f"<p class=faint>From inside the run folder.</p><dl class=commands>{lines}</dl>"
    return (begun if record.command else "") + (use if lines else "")


def show_code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>" if text else ""


def fold(title: str, body: str) -> str:
    """Hide a long part behind its title."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""

"""`vit predict`: name what is in images."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import show_json, show_note, show_table, write
from vit_cli.errors import DataError

if TYPE_CHECKING:
    from vit_cli.evaluate.predict import Prediction


class Format(str, Enum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


Paths = Annotated[
    list[Path], typer.Argument(help="Images, folders of images, or - for paths from stdin.", show_default=False)
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top", min=0, help="Classes to name for each image, 5 if not given; 0 names all.", show_default=False
    ),
]
Threshold = Annotated[
    float, typer.Option("--threshold", min=0, max=1, help="Name labels (of several) with a probability above this.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="table for people; csv and jsonl have every digit.")]


def predict(
    model: flags.Runnable,
    paths: Paths,
    top: Top = None,
    threshold: Threshold = 0.5,
    format: FormatOption = Format.table,
    res: flags.Res = None,
    devices: flags.Devices = "auto",
    debug: flags.Debug = False,
) -> None:
    """Name what is in images, the likeliest classes first, or tell their numbers."""
    from vit_cli.dist.world import join_world
    from vit_cli.evaluate.class_names import are_numbers, explain_numbers
    from vit_cli.evaluate.predict import list_images, predict_images
    from vit_cli.evaluate.runnable import get_runnable

    named = read_paths() if paths == [Path("-")] else paths
    ready = get_runnable(model, join_world(devices), res)
    if are_numbers(ready.saved):
        show_note(f"{model} names no classes: the names are numbers, from 0.\n{explain_numbers(ready.saved)}")
    unreadable: list[str] = []
    predictions = predict_images(ready, list_images(named), top, unreadable, threshold)
    SHOW[format](predictions, ready.task.name == "regression")
    if unreadable:
        for line in unreadable:
            show_note(line)
        raise DataError(
            f"{len(unreadable)} image{'s' if len(unreadable) > 1 else ''} can't be read; the others are done"
        )


def read_paths() -> list[Path]:
    """Read a path per line from stdin, in any encoding; DataError if there is none."""
    lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
    paths = [Path(line) for line in lines if line]
    if not paths:
        raise DataError("stdin names no image", "Write a path per line, for example: find photos -name '*.jpg' | ...")
    return paths


def show_jsonl(predictions: Iterable[Prediction], are_numbers: bool) -> None:
    """Write a JSON line per image."""
    what, how = ("target", "value") if are_numbers else ("class", "probability")
    for prediction in predictions:
        pairs = [{what: name, how: value} for name, value in prediction.classes]
        show_json({"path": prediction.path, "predictions": pairs}, line=True)


def show_csv(predictions: Iterable[Prediction], are_numbers: bool) -> None:
    """Write a CSV line per image and class, or target; an image without any label has a line with an empty one."""
    write_csv(["path", "target", "value"] if are_numbers else ["path", "rank", "class", "probability"])
    for prediction in predictions:
        for rank, (name, value) in enumerate(prediction.classes, start=1):
            write_csv([prediction.path, *([] if are_numbers else [rank]), name, repr(value)])
        if not prediction.classes:
            write_csv([prediction.path, "", "", ""])


def write_csv(cells: list[object]) -> None:
    """Write a line of CSV to stdout."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    write(sys.stdout, line.getvalue())


def show_pretty(predictions: Iterable[Prediction], are_numbers: bool) -> None:
    """Show a row per image."""
    rows = [
        [
            prediction.path,
            "   ".join(
                f"{name} {value:.4g}" if are_numbers else f"{name} {100 * value:.1f} %"
                for name, value in prediction.classes
            )
            or "nothing",
        ]
        for prediction in predictions
    ]
    show_table(["image", "predicted" if are_numbers else "likeliest first"], rows)


SHOW = {Format.table: show_pretty, Format.csv: show_csv, Format.jsonl: show_jsonl}

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
Top = Annotated[int, typer.Option("--top", min=0, help="Classes to name for each image; 0 names all.")]
FormatOption = Annotated[Format, typer.Option("--format", help="table for people; csv and jsonl have every digit.")]


def predict(
    model: flags.Model,
    paths: Paths,
    top: Top = 5,
    format: FormatOption = Format.table,
    res: flags.Res = None,
    devices: flags.Devices = "auto",
    debug: flags.Debug = False,
) -> None:
    """Name what is in images, the likeliest classes first."""
    from vit_cli.dist.world import join_world
    from vit_cli.evaluate.predict import list_images, predict_images
    from vit_cli.evaluate.saved import get_ready

    named = read_paths() if paths == [Path("-")] else paths
    ready = get_ready(model, join_world(devices), res)
    unreadable: list[str] = []
    predictions = predict_images(ready, list_images(named), top, unreadable)
    SHOW[format](predictions)
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


def show_jsonl(predictions: Iterable[Prediction]) -> None:
    """Write a JSON line per image."""
    for prediction in predictions:
        pairs = [{"class": name, "probability": probability} for name, probability in prediction.classes]
        show_json({"path": prediction.path, "predictions": pairs}, line=True)


def show_csv(predictions: Iterable[Prediction]) -> None:
    """Write a CSV line per image and class."""
    write_csv(["path", "rank", "class", "probability"])
    for prediction in predictions:
        for rank, (name, probability) in enumerate(prediction.classes, start=1):
            write_csv([prediction.path, rank, name, repr(probability)])


def write_csv(cells: list[object]) -> None:
    """Write a line of CSV to stdout."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    write(sys.stdout, line.getvalue())


def show_pretty(predictions: Iterable[Prediction]) -> None:
    """Show a row per image."""
    rows = [
        [prediction.path, "   ".join(f"{name} {100 * probability:.1f} %" for name, probability in prediction.classes)]
        for prediction in predictions
    ]
    show_table(["image", "likeliest first"], rows)


SHOW = {Format.table: show_pretty, Format.csv: show_csv, Format.jsonl: show_jsonl}

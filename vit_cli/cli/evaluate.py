"""`vit eval`: judge a model; nothing but its path is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import make_progress, show_json, show_result, show_table
from vit_cli.errors import GateError, UsageError

if TYPE_CHECKING:
    from vit_cli.data.samples import Samples
    from vit_cli.evaluate.evaluate import Evaluation
    from vit_cli.evaluate.saved import Ready

ROUNDING = 1e-9
"""7 of 125 images are 0.056, but not to the last bit."""

Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="train or val of the model's own data; with --data a subfolder, or how parquet files begin.",
        show_default=False,
    ),
]
PerClass = Annotated[bool, typer.Option("--per-class", help="Show precision, recall and F1 of every class.")]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions", help="Write a CSV with a line per image: path, label, prediction, probability, loss."
    ),
]
FailUnder = Annotated[
    str | None,
    typer.Option("--fail-under", metavar="top1=0.9", help="Exit with 6 if a share is lower (repeat with commas)."),
]


def evaluate(
    model: flags.Model,
    data: flags.Data = None,
    split: Split = None,
    res: flags.Res = None,
    per_class: PerClass = False,
    predictions: Predictions = None,
    fail_under: FailUnder = None,
    devices: flags.Devices = "auto",
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Evaluate a checkpoint, a run or a model folder on its own validation images, or on --data."""
    gates = read_gates(fail_under) if fail_under else {}
    if predictions:
        check_place(predictions)
    from vit_cli.cli.launch import launch_processes
    from vit_cli.dist.world import joined
    from vit_cli.evaluate.saved import evaluate_saved, get_ready, open_folder_data, open_own_data

    if launch_processes(devices):
        return
    with joined(devices) as world:
        ready = get_ready(model, world, res)
        if per_class:
            check_classes(ready.class_names)
        samples = open_folder_data(data, split, ready.saved) if data else open_own_data(ready.saved, split)
        progress = make_progress(quiet or json or not world.is_first, verbose=False)
        for change in ready.changes:
            progress.note(change)
        evaluation = evaluate_saved(ready, samples, world)
    if not world.is_first:
        return
    if predictions:
        save_predictions(predictions, evaluation, samples, ready)
    show_evaluation(evaluation, ready, per_class=per_class, json=json)
    check_gates(gates, evaluation.scores)


def check_place(path: Path) -> None:
    """Raise UsageError, before anything is computed, if a file can't be written at `path`."""
    if path.is_dir():
        raise UsageError(f"--predictions {path} is a folder", "Name a file, such as predictions.csv.")
    if not path.parent.is_dir():
        raise UsageError(f"--predictions {path}: there is no folder {path.parent}", "Make it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--predictions {path} can't be written", "Name a place that you can write in.")


def check_classes(names: Sequence[str]) -> None:
    """Raise UsageError if there are too many classes for a score of each."""
    from vit_cli.metrics.score import CONFUSION_LIMIT

    if len(names) > CONFUSION_LIMIT:
        raise UsageError(f"--per-class is for up to {CONFUSION_LIMIT:,} classes; this model has {len(names):,}")


def save_predictions(path: Path, evaluation: Evaluation, samples: Samples, ready: Ready) -> None:
    """Write the CSV of --predictions; UsageError if it can't be written."""
    from vit_cli.evaluate.saved import write_predictions

    if evaluation.answers is None:
        return
    try:
        write_predictions(path, evaluation.answers, samples, ready.class_names)
    except OSError as error:
        raise UsageError(f"--predictions {path} can't be written: {error.strerror}") from error


def show_evaluation(evaluation: Evaluation, ready: Ready, *, per_class: bool, json: bool) -> None:
    """Show the scores, and with `per_class` those of every class."""
    facts = summarise(evaluation, len(ready.class_names), tuple(ready.res))
    classes = list_classes(evaluation, ready.class_names) if per_class else []
    if json:
        show_json(facts | ({"per_class": classes} if per_class else {}))
        return
    show_result(
        f"top-1 {facts['top1']:.2f} %   top-5 {facts['top5']:.2f} %   loss {facts['loss']:.4f}   {facts['images']} images, "
        f"{facts['classes']} classes, {ready.res} pixels, {facts['seconds']:.1f} s ({facts['images_per_second']:.0f} img/s)"
    )
    if per_class:
        show_table(
            ["class", "images", "precision", "recall", "f1"],
            [[f"{v:.2f}" if isinstance(v, float) else v for v in row.values()] for row in classes],
        )


def summarise(evaluation: Evaluation, classes: int, res: tuple[int, ...]) -> dict[str, float | int | list[int]]:
    """Give the facts that `--json` promises."""
    scores, seconds = evaluation.scores, evaluation.seconds
    return {
        "top1": scores["top1"],
        "top5": scores["top5"],
        "loss": scores["loss"],
        "images": int(scores["images"]),
        "classes": classes,
        "res": list(res),
        "seconds": seconds,
        "images_per_second": scores["images"] / max(seconds, 1e-9),
    }


def list_classes(evaluation: Evaluation, names: tuple[str, ...]) -> list[dict[str, float | int | str]]:
    """Score every class."""
    from vit_cli.metrics.confusion import per_class

    rows = per_class(evaluation.confusion, names) if evaluation.confusion is not None else ()
    return [
        {"class": row.name, "images": row.images, "precision": row.precision, "recall": row.recall, "f1": row.f1}
        for row in rows
    ]


def read_gates(text: str) -> dict[str, float]:
    """Read `top1=0.9,top5=0.99`: shares from 0 to 1."""
    gates = {}
    for part in text.split(","):
        match = re.fullmatch(r"(top1|top5)=(\d*\.?\d+)", part.strip())
        if not match or float(match[2]) > 1:
            raise UsageError(
                f"--fail-under {text} is not understood",
                "Write for example top1=0.9 or top1=0.9,top5=0.99 (shares from 0 to 1).",
            )
        gates[match[1]] = float(match[2])
    return gates


def check_gates(gates: dict[str, float], scores: Mapping[str, float]) -> None:
    """Raise GateError for every score (in per cent) below its gate (a share), by more than rounding."""
    shares = {name: scores[name] / 100 for name in gates}
    low = [
        f"{name} is {shares[name]:.4f}, below {least:g}"
        for name, least in gates.items()
        if shares[name] < least - ROUNDING
    ]
    if low:
        raise GateError("; ".join(low))

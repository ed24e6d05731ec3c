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
from vit_cli.metrics.names import SCORES, WORDS

if TYPE_CHECKING:
    from vit_cli.data.samples import Samples
    from vit_cli.evaluate.evaluate import Evaluation
    from vit_cli.evaluate.saved import Ready
    from vit_cli.metrics.task import Task

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
PerClass = Annotated[bool, typer.Option("--per-class", help="Score every class, label or target by itself.")]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions", help="Write a CSV with a line per image: path, what is true, what was said, how surely, loss."
    ),
]
FailUnder = Annotated[
    str | None,
    typer.Option(
        "--fail-under",
        metavar="top1=0.9",
        help="Exit with 6 if a score is worse (repeat with commas); percentages as shares of 1.",
    ),
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
    quiet: flags.ResultOnly = False,
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
        check_known(gates, ready.task)
        if per_class and ready.task.name == "classification":
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
    from vit_cli.metrics.confusion import CONFUSION_LIMIT

    if len(names) > CONFUSION_LIMIT:
        raise UsageError(f"--per-class is for up to {CONFUSION_LIMIT:,} classes; this model has {len(names):,}")


def save_predictions(path: Path, evaluation: Evaluation, samples: Samples, ready: Ready) -> None:
    """Write the CSV of --predictions; UsageError if it can't be written."""
    from vit_cli.evaluate.saved import write_predictions

    if evaluation.answers is None:
        return
    try:
        write_predictions(path, evaluation.answers, samples, ready.task)
    except OSError as error:
        raise UsageError(f"--predictions {path} can't be written: {error.strerror}") from error


def show_evaluation(evaluation: Evaluation, ready: Ready, *, per_class: bool, json: bool) -> None:
    """Show the scores, and with `per_class` those of every class, label or target."""
    facts = summarise(evaluation, ready.task, tuple(ready.res))
    if json:
        show_json(facts | ({"per_class": evaluation.per_class} if per_class else {}))
        return
    word = WORDS[ready.task.name]
    outputs = f"{facts[word]} {word if facts[word] != 1 else word[:-1]}"
    told = [
        name for name in ready.task.reported if name != "top5" or len(ready.task.names) > 5
    ]  # else it is always 100
    shown = "   ".join(SCORES[name].say(evaluation.scores[name]) for name in (*told, "loss"))
    if ready.task.name == "regression" and len(ready.task.names) > 1:
        shown += " (means of the targets; --per-class has each)"
    show_result(
        f"{shown}   {facts['images']} images, {outputs}, {ready.res} pixels, "
        f"{facts['seconds']:.1f} s ({facts['images_per_second']:.0f} img/s)"
    )
    if per_class and evaluation.per_class:
        write = "{:.4g}" if ready.task.name == "regression" else "{:.2f}"
        show_table(
            list(evaluation.per_class[0]),
            [[write.format(v) if isinstance(v, float) else v for v in row.values()] for row in evaluation.per_class],
        )


def summarise(evaluation: Evaluation, task: Task, res: tuple[int, ...]) -> dict[str, float | int | list[int]]:
    """Give the facts that `--json` promises."""
    scores, seconds = evaluation.scores, evaluation.seconds
    return {
        **{name: scores[name] for name in (*task.reported, "loss")},
        "images": int(scores["images"]),
        WORDS[task.name]: len(task.names),
        "res": list(res),
        "seconds": seconds,
        "images_per_second": scores["images"] / max(seconds, 1e-9),
    }


def read_gates(text: str) -> dict[str, float]:
    """Read `top1=0.9,rmse=2.5`: shares from 0 to 1 for what is a percentage, else numbers."""
    gates = {}
    for part in text.split(","):
        match = re.fullmatch(r"(\w+)=(-?\d*\.?\d+)", part.strip())
        known = match and SCORES.get(match[1])
        if not match or not known or (known.in_percent and not 0 <= float(match[2]) <= 1):
            raise UsageError(
                f"--fail-under {text} is not understood",
                "Write for example top1=0.9 or top1=0.9,top5=0.99 (shares from 0 to 1), or loss=0.5. "
                f"Scores: {', '.join(SCORES)}.",
            )
        gates[match[1]] = float(match[2])
    return gates


def check_known(gates: Mapping[str, float], task: Task) -> None:
    """Raise UsageError for a gate on a score that the model's task does not have."""
    names = (*task.reported, "loss")
    for name in gates:
        if name not in names:
            raise UsageError(f"--fail-under {name}: {task.name} has no such score", f"It has {', '.join(names)}.")


def check_gates(gates: Mapping[str, float], scores: Mapping[str, float]) -> None:
    """Raise GateError for every score that is worse than its gate (of a percentage: a share), by more than rounding."""
    bad = []
    for name, gate in gates.items():
        kind = SCORES[name]
        value = scores[name] / 100 if kind.in_percent else scores[name]
        margin = (value - gate) * (1 if kind.is_better_higher else -1)
        if not margin >= -ROUNDING:
            bad.append(f"{name} is {value:.4f}, {'below' if kind.is_better_higher else 'above'} {gate:g}")
    if bad:
        raise GateError("; ".join(bad))

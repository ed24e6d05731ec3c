"""`vit eval`: judge a model; nothing but its path is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import make_progress
from vit_cli.cli.gates import check_gates, check_known, read_gates
from vit_cli.cli.judged import Shown, show_judged
from vit_cli.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from vit_cli.data.samples import Samples
    from vit_cli.evaluate.evaluate import Evaluation
    from vit_cli.evaluate.judge import Asked, Judged
    from vit_cli.evaluate.saved import Ready
    from vit_cli.metrics.task import Task

HOW = "How"

Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="train or val of the model's own data; with --data a subfolder, or how parquet files begin.",
        show_default=False,
    ),
]
Real = Annotated[
    Path | None,
    typer.Option(
        "--real",
        help="Score by ReaL's labels too: its real.json, for ImageNet's validation images.",
        show_default=False,
    ),
]
Resolutions = Annotated[
    str | None,
    typer.Option(
        "--res",
        metavar="PIXELS[,PIXELS]...",
        help="Resolutions, each judged in turn; positions are stretched.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Flips = Annotated[
    bool,
    typer.Option(
        "--flips", help="Answer by the mean of the logits of an image and its mirror image.", rich_help_panel=HOW
    ),
]
Corruptions = Annotated[
    str | None,
    typer.Option(
        "--corruptions",
        metavar="all|KIND[,KIND]...",
        help="Judge again on harmed images, at five strengths: noise, blur, jpeg, pixelate, contrast, brightness.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
PerClass = Annotated[
    bool,
    typer.Option("--per-class", help="Score every class, label or target by itself.", rich_help_panel=flags.OUTPUT),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        help="Write a CSV with a line per image: path, what is true, what was said, how surely, loss.",
        show_default=False,
        rich_help_panel=flags.OUTPUT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Write all that was found, tables, and pictures of calibration and mistakes to a folder.",
        metavar="<path>",
        parser=flags.read_out,
        show_default=False,
        rich_help_panel=flags.OUTPUT,
    ),
]
FailUnder = Annotated[
    str | None,
    typer.Option(
        "--fail-under",
        metavar="top1=0.9",
        help="Exit with 6 if a score is worse (repeat with commas); percentages as shares of 1.",
        show_default=False,
        rich_help_panel=flags.OUTPUT,
    ),
]


def evaluate(
    model: flags.Runnable,
    data: flags.Data = None,
    split: Split = None,
    real: Real = None,
    res: Resolutions = None,
    flips: Flips = False,
    corruptions: Corruptions = None,
    per_class: PerClass = False,
    predictions: Predictions = None,
    out: Out = None,
    overwrite: flags.Overwrite = False,
    fail_under: FailUnder = None,
    devices: flags.Devices = "auto",
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Evaluate a checkpoint, a run or a model folder on its own validation images, or on --data."""
    gates = read_gates(fail_under) if fail_under else {}
    resolutions = read_resolutions(res) if res is not None else (None,)
    if predictions:
        check_predictions(predictions, len(resolutions))
    from vit_cli.cli.launch import launch_processes
    from vit_cli.dist.world import joined
    from vit_cli.evaluate.images import open_folder_data, open_own_data
    from vit_cli.evaluate.judge import Asked, check_asked, judge
    from vit_cli.evaluate.runnable import open_runnable
    from vit_cli.evaluate.saved import read_task
    from vit_cli.export.write import choose_folder

    asked = Asked(resolutions, flips, real, read_corruptions(corruptions) if corruptions is not None else ())
    if out:
        out = choose_folder(out, overwrite)
    if launch_processes(devices):
        return
    shown: list[Shown] = []
    with joined(devices) as world:
        runnable = open_runnable(model, world)
        saved = runnable.saved
        task = read_task(saved)
        check_known(gates, score_names(task, asked), task.name)
        check_asked(asked, runnable)
        if per_class and task.name == "classification":
            check_classes(len(task.names))
        samples = open_folder_data(data, split, saved) if data else open_own_data(saved, split)
        progress = make_progress(quiet or json or not world.is_first, verbose=False)
        for judged in judge(runnable, samples, world, asked, progress.note):
            shown.append(Shown(judged.facts(), judged.evaluation.per_class))
            if world.is_first and predictions:
                save_predictions(predictions, judged.evaluation, samples, judged.ready)
            if world.is_first and out:
                save_all(out / str(judged.ready.res) if len(resolutions) > 1 else out, judged, shown[-1], samples)
    if not world.is_first:
        return
    show_judged(shown, task, per_class=per_class, json=json)
    check_gates(gates, [each.facts for each in shown])


def read_resolutions(text: str) -> tuple[int, ...]:
    """Read `224` or `224,288,384`, in this order; UsageError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10**6 for part in parts):
        raise UsageError(f"--res {text} is not understood", "Write pixels, as 224, or several: 224,288,384.")
    return tuple(dict.fromkeys(map(int, parts)))


def read_corruptions(text: str) -> tuple[str, ...]:
    """Read the kinds of harm; UsageError for unknown ones."""
    from vit_cli.evaluate.robustness import read_kinds  # torchvision takes seconds to import

    return read_kinds(text)


def score_names(task: Task, asked: Asked) -> tuple[str, ...]:
    """Name the scores that an evaluation will have."""
    return (*task.reported, "loss", *task.detailed, *(["real"] if asked.real else []))


def check_predictions(path: Path, resolutions: int) -> None:
    """Raise UsageError, before anything is computed, if the answers of one evaluation can't be written to `path`."""
    if resolutions > 1:
        raise UsageError(f"--predictions is one table, and --res names {resolutions} resolutions", "Name one of them.")
    flags.check_place(path, "--predictions")


def check_classes(classes: int) -> None:
    """Raise UsageError if there are too many classes for a score of each."""
    from vit_cli.metrics.confusion import CONFUSION_LIMIT

    if classes > CONFUSION_LIMIT:
        raise UsageError(f"--per-class is for up to {CONFUSION_LIMIT:,} classes; this model has {classes:,}")


def save_predictions(path: Path, evaluation: Evaluation, samples: Samples, ready: Ready) -> None:
    """Write the CSV of --predictions; UsageError if it can't be written."""
    from vit_cli.evaluate.saved import write_predictions

    if evaluation.answers is None:
        return
    try:
        write_predictions(path, evaluation.answers, samples, ready.task)
    except OSError as error:
        raise UsageError(f"--predictions {path} can't be written: {error.strerror}") from error
    except TrainingError as error:
        raise UsageError(f"--predictions: {error.problem}", "Is the disk full or read-only?") from error


def save_all(folder: Path, judged: Judged, shown: Shown, samples: Samples) -> None:
    """Write what was found at one resolution to a folder."""
    from vit_cli.metrics.calibration import list_bins
    from vit_cli.report.evaluation import write_evaluation

    evaluation = judged.evaluation
    document = shown.document(per_class=True)
    if evaluation.calibration is not None:
        document["calibration"] = [each._asdict() for each in list_bins(evaluation.calibration)]
    write_evaluation(folder, document, evaluation, judged.ready, samples)

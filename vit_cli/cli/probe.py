"""`vit probe`: how well classes can be told by a model's frozen features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import make_progress, show_json, show_note, show_table
from vit_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from vit_cli.data.open import Splits
    from vit_cli.evaluate.features import Features
    from vit_cli.evaluate.probe import LeftOut, Protocol, Score
    from vit_cli.evaluate.saved import Ready

TITLES: dict[Protocol, str] = {
    "fewshot": "few-shot, {:g} a class",
    "knn": "kNN, k {:g}",
    "linear": "linear, penalty {:g}",
}
SETTINGS: dict[Protocol, str] = {"fewshot": "shots", "knn": "k", "linear": "penalty"}

Split = Annotated[
    str | None,
    typer.Option(
        "--split", help="With --data: the subfolder to test on, or how its parquet files begin.", show_default=False
    ),
]
Only = Annotated[str, typer.Option("--only", help="The protocols, with commas between them.")]
Shots = Annotated[str, typer.Option("--shots", help="How many images of each class few-shot learns from.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="How many times few-shot draws them.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="The folder that keeps features for the next call; `features` in the run if left out.",
        show_default=False,
        rich_help_panel=flags.OUTPUT,
    ),
]


def probe(
    model: flags.Model,
    data: flags.Data = None,
    split: Split = None,
    res: flags.Res = None,
    only: Only = "fewshot,knn,linear",
    shots: Shots = "1,5,10,25",
    seeds: Seeds = 3,
    devices: flags.Devices = "auto",
    cache: Cache = None,
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Judge a model's frozen features: few-shot ridge regression, nearest neighbours, a linear probe."""
    protocols, counts = read_protocols(only), read_shots(shots)
    check_arguments(data, split, cache)
    from vit_cli.cli.launch import launch_processes
    from vit_cli.data.summary import describe
    from vit_cli.dist.world import joined
    from vit_cli.evaluate.features import find_place, get_features
    from vit_cli.evaluate.probe import Side, judge, open_own_sides, open_sides
    from vit_cli.evaluate.saved import get_ready

    if launch_processes(devices):
        return
    with joined(devices) as world:
        ready = get_ready(model, world, res, needs_head=False)
        splits = open_sides(data, split, ready.saved) if data else open_own_sides(ready.saved)
        progress = make_progress(quiet or json or not world.is_first, verbose=False)
        for line in (*ready.changes, f"data  {describe(splits)}"):
            progress.note(line)
        features = [get_features(ready, part, world, cache or find_place(model)) for part in (splits.train, splits.val)]
    if not world.is_first:
        return
    for found, purpose in zip(features, ("to learn from", "to test on"), strict=True):
        progress.note(
            f"features  {len(found.table):,} of {found.table.shape[1]} numbers {purpose}, {tell_origin(found)}"
        )
    train, test = (
        Side(found.table, part.labels) for found, part in zip(features, (splits.train, splits.val), strict=True)
    )
    results = [
        result
        for protocol in protocols
        for result in judge(train, test, protocol, splits.classes, counts, seeds, world.device)
    ]
    show_results(results, summarise(ready, splits, features), json=json)


def read_protocols(text: str) -> list[Protocol]:
    """Read --only, in the order of the table; UsageError for what is no protocol."""
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in TITLES]:
        raise UsageError(f"--only {text}: there is no protocol {unknown[0]!r}", f"Choose from {', '.join(TITLES)}.")
    return [protocol for protocol in TITLES if protocol in words]


def read_shots(text: str) -> list[int]:
    """Read --shots, rising, each once; UsageError for what is no number above 0."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"--shots {text} is not understood", "Write numbers with commas between them: 1,5,10.")
    return sorted({int(word) for word in words})


def check_arguments(data: Path | None, split: str | None, cache: Path | None) -> None:
    """Raise UsageError, before anything is computed, for a split of nothing and for a cache that can't be written."""
    if split is not None and data is None:
        raise UsageError("--split goes with --data", "A model's own data is tested on its validation images.")
    if cache is None:
        return
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--cache {cache} is no folder and can't be made one: {error.strerror}") from error
    if not os.access(cache, os.W_OK):
        raise UsageError(f"--cache {cache} can't be written", "Name a folder that you can write in.")


def tell_origin(found: Features) -> str:
    """Say where features come from, and whether they are kept."""
    if not found.seconds:
        return f"from {found.file}"
    kept = f"not kept: {found.trouble}" if found.trouble else f"kept in {found.file}"
    return f"{found.seconds:.1f} s, {kept}"


def show_results(results: Sequence[Score | LeftOut], facts: dict[str, Any], *, json: bool) -> None:
    """Show the scores, and what was left out. Raises DataError if there are no scores."""
    from vit_cli.evaluate.probe import LeftOut, Score

    scores = [result for result in results if isinstance(result, Score)]
    left_out = [result for result in results if isinstance(result, LeftOut)]
    if not scores:
        reasons = "\n".join(f"{entitle(one)}: {one.reason}" for one in left_out)
        raise DataError("there are too few images to learn from", reasons)
    if json:
        show_json(
            facts | {"scores": [as_plain(one) for one in scores], "left_out": [as_plain(one) for one in left_out]}
        )
        return
    draws = max(len(score.per_seed) for score in scores)
    heads = ["top-1 %", *(f"seed {seed}" for seed in range(draws))] if draws > 1 else ["top-1 %"]
    show_table(
        ["protocol", *heads, "seconds"],
        [[entitle(one), *cells(one, heads), f"{one.seconds:7.2f}"] for one in scores],
    )
    for one in left_out:
        show_note(f"left out  {entitle(one)}: {one.reason}")
    for score in scores:
        if score.note:
            show_note(f"{entitle(score)}: {score.note}")


def entitle(one: Score | LeftOut) -> str:
    """Name a row: "few-shot, 5 a class"."""
    return one.protocol if one.setting is None else TITLES[one.protocol].format(one.setting)


def cells(score: Score, heads: Sequence[str]) -> list[str]:
    """Fill the columns `heads`: the mean, then each seed; what draws nothing has the mean alone."""
    drawn = score.per_seed if len(score.per_seed) > 1 else ()
    texts = [f"{value:.2f}" for value in (score.top1, *drawn)]
    return [text.rjust(len(head)) for text, head in zip(texts + [""] * len(heads), heads, strict=False)]


def as_plain(one: Score | LeftOut) -> dict[str, Any]:
    """Give the facts of a row that `--json` promises."""
    from vit_cli.evaluate.probe import LeftOut

    named = {"protocol": one.protocol, **({} if one.setting is None else {SETTINGS[one.protocol]: one.setting})}
    if isinstance(one, LeftOut):
        return named | {"reason": one.reason}
    return named | {"top1": one.top1, "per_seed": one.per_seed, "seconds": one.seconds, "note": one.note}


def summarise(ready: Ready, splits: Splits, features: Sequence[Features]) -> dict[str, Any]:
    """Give the facts about model and images that `--json` promises."""
    train, test = features
    return {
        "model": str(ready.saved.path),
        "res": list(ready.res),
        "precision": ready.precision,
        "width": train.table.shape[1],
        "train_images": len(train.table),
        "test_images": len(test.table),
        "classes": len(splits.classes),
        "seconds": train.seconds + test.seconds,
        "files": [str(found.file) for found in features],
    }

"""`vit data check` and `vit data preview`: look at data before training on it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import show_json, show_result
from vit_cli.errors import DataError, GateError, UsageError

if TYPE_CHECKING:
    from vit_cli.data.check import Report

Where = Annotated[
    str,
    typer.Argument(
        metavar="PATH_OR_RECIPE",
        help="Images as for --data (class folders, a folder with train/ and val/, a table, parquet, shards), or a recipe.",
        show_default=False,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Changes, e.g. data.train.image=photo or task=multilabel.", show_default=False
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 6 if there is a problem.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that read; one per core if left out.",
        rich_help_panel=flags.RUNNING,
        show_default=False,
    ),
]
Sample = Annotated[
    int | None,
    typer.Option("--sample", min=1, help="Read so many images of a split, spread evenly.", show_default=False),
]
Picture = Annotated[
    Path, typer.Option("--out", "-o", help="The picture to write, such as grid.png.", show_default=False)
]
Rows = Annotated[int, typer.Option("--rows", min=1, max=64, help="How many images to show.")]
EPOCHS = 5
"""So many versions of an image are shown."""


def check(
    where: Where,
    changes: Changes = None,
    strict: Strict = False,
    sample: Sample = None,
    workers: Workers = None,
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Read every image once, and say what is wrong with the data.

    Finds images that can't be read, classes that differ between the splits, and pictures with the same pixels in both of
    them or under several labels. One that was resized or encoded anew counts as another.
    """
    check_there(where)
    from vit_cli.cli.data_report import Counting, show_report
    from vit_cli.data.check import Looking, check_data, open_parts
    from vit_cli.data.findings import judge
    from vit_cli.recipe.data import load_data

    asked = load_data(where, changes or ())
    data = asked.data
    parts = open_parts(data.train, data.val, data.parting, asked.task)
    with Counting(quiet=quiet or json) as counting:
        report = judge(check_data(parts, asked.task, Looking(workers, sample, data.max_pixels, counting.told)))
    if json:
        show_json(asdict(report))
    else:
        show_report(report)
    if strict and report.problems:
        raise GateError(name_problems(report, where))


def check_there(where: str) -> None:
    """Raise DataError, or RecipeError for a recipe, before anything slow is imported, if nothing is there."""
    from vit_cli.data.sheet import did_you_mean
    from vit_cli.recipe.find import find_recipe, shipped_recipes

    path = Path(where).expanduser()
    if path.suffix in (".yaml", ".yml"):
        find_recipe(where)
    elif not path.exists() and where not in shipped_recipes():
        raise DataError(f"{path.absolute()} is not there", did_you_mean(path.absolute()).strip())


def name_problems(report: Report, where: str) -> str:
    """Say in one line that there are problems."""
    first, *others = report.problems
    more = f", and {len(others)} more" if others else ""
    return f"{where} has {len(report.problems)} problem{'s' if others else ''}: {first.text}{more}"


def preview(
    recipe: flags.Recipe,
    out: Picture,
    changes: flags.Changes = None,
    rows: Rows = 6,
    debug: flags.Debug = False,
) -> None:
    """Draw images of the first batch as they are, as the first epochs will see them, and mixed.

    Another seed=N shows others.
    """
    check_place(out)
    from vit_cli.recipe.find import shipped_recipes
    from vit_cli.recipe.load import load_recipe
    from vit_cli.report.preview import draw_preview
    from vit_cli.train.preview import make_preview

    if recipe not in shipped_recipes() and Path(recipe).is_dir():
        raise UsageError(
            f"{recipe} is a folder, not a recipe",
            f"Draw it by a recipe: vit data preview photos data.train.root={recipe}",
        )
    reading = (
        "data.cache=none",
        "data.workers=0",
        "data.augment_on=workers",
        "data.decode=cpu",
    )  # the same to the bit, and at once
    draw_preview(make_preview(load_recipe(recipe, [*(changes or ()), *reading]).recipe, rows, EPOCHS), out)
    show_result(str(out))


def check_place(path: Path) -> None:
    """Raise UsageError, before anything is read, if a picture can't be written at `path`."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {path} is no PNG", "Name a file such as grid.png.")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}", "Make it first.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--out {path} can't be written", "Name a place that you can write in.")

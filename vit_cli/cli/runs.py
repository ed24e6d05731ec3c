"""`vit run`: list runs, and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_cli.cli import flags
from vit_cli.errors import UsageError

if TYPE_CHECKING:
    from vit_cli.report.runs import Summary
    from vit_cli.report.versus import Comparison

app = typer.Typer(no_args_is_help=True, help="List runs, or compare what they do and reach.")

Place = Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder of runs.")]
Runs = Annotated[list[Path], typer.Argument(metavar="A B [C]...", help="Run folders.", show_default=False)]
Plot = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE.png", help="Draw the curves of all into one plot.", show_default=False),
]
LONGEST_CELL = 44
COSTS = {"epochs": "{:.4g}", "parameters": "{:,.0f}", "train_seconds": "", "images_per_second": "{:,.0f}"}


@app.command("list", epilog="Example: vit run list --json")
def list_all(place: Place = Path("runs"), json: flags.Json = False, debug: flags.Debug = False) -> None:
    """List the runs in a folder, the newest last: state, model, resolution, best score, epochs, time, size."""
    from vit_cli.cli.console import show_json, show_note, show_table
    from vit_cli.report.runs import list_runs

    runs = list_runs(place)
    if json:
        show_json([run._asdict() for run in runs])
    elif runs:
        heads = ["run", "state", "model", "res", "best", "epochs", "time", "size"]
        show_table(heads, [describe(run) for run in runs])
    else:
        show_note(f"there is no run in {place}")


def describe(run: Summary) -> list[str]:
    """Give the cells of a run's line."""
    from vit_cli.cli.layout import format_epoch, format_seconds
    from vit_cli.metrics.names import SCORES

    return [
        run.run,
        run.state,
        run.model or "",
        run.res or "",
        SCORES[run.metric].say(run.score) if run.metric and run.score is not None else "",
        format_epoch(run.epochs) if run.epochs is not None else "",
        format_seconds(run.seconds) if run.seconds is not None else "",
        f"{run.bytes / 1e6:,.1f} MB",
    ]


@app.command(epilog="Example: vit run compare runs/2026-11-20_101502_digits runs/latest --out curves.png")
def compare(runs: Runs, out: Plot = None, json: flags.Json = False, debug: flags.Debug = False) -> None:
    """Compare runs: the settings that differ, scores, cost."""
    if len(runs) < 2:
        raise UsageError("compare takes two runs or more", "vit run list shows them.")
    if out:
        flags.check_place(out, "--out")
    from vit_cli.cli.console import show_json, show_note
    from vit_cli.report.versus import compare_runs, draw_comparison

    compared = compare_runs(runs)
    if out:
        draw_comparison(compared, out.resolve())
    if json:
        paths = [str(record.path) for record in compared.records]
        show_json({"runs": paths, "settings": compared.settings, "results": compared.results})
        return
    show_comparison(compared)
    if out:
        show_note(f"curves: {out}")


def show_comparison(compared: Comparison) -> None:
    """Show a table of settings and one of results, with a column for each run."""
    from vit_cli.cli.console import show_note, show_result, show_table
    from vit_cli.inspect.style import shorten
    from vit_cli.recipe.difference import show

    if compared.settings:
        rows = [[key, *(shorten(show(value), LONGEST_CELL) for value in row)] for key, row in compared.settings.items()]
        show_table(["setting", *compared.names], rows)
        show_result("")
    else:
        show_note("the recipes are equal")
    table = [[name, *(write(name, value) for value in row)] for name, row in compared.results.items()]
    show_table(["result", *compared.names], [row for row in table if any(row[1:])])


def write(name: str, value: float | None) -> str:
    """Write a result with its unit."""
    from vit_cli.cli.layout import format_seconds
    from vit_cli.metrics.names import SCORES

    if value is None:
        return ""
    if name == "train_seconds":
        return format_seconds(value)
    return SCORES[name].write(value) if name in SCORES else COSTS.get(name, "{:.6g}").format(value)

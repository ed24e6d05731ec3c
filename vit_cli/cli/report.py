"""`vit report`: write a run's report, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vit_cli.cli import flags

RunFolder = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A run folder, the latest if left out.", show_default=False)
]
PageOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Write only the page, to this file, and leave the run folder as it is.",
        metavar="FILE.html",
        rich_help_panel=flags.OUTPUT,
        show_default=False,
    ),
]
Evaluates = Annotated[
    bool, typer.Option("--evaluate", help="Judge the best weights on the run's data first, and draw new samples.")
]


def report(
    run: RunFolder = None,
    evaluate: Evaluates = False,
    out: PageOut = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Write report.html and README.md of a run from what its folder holds, whether it is finished, running or crashed."""
    if out:
        flags.check_place(out, "--out")
    from vit_cli.cli.console import show_json, show_result
    from vit_cli.report.facts import gather_scores
    from vit_cli.report.finish import report_again
    from vit_cli.report.judged import read_evaluation
    from vit_cli.report.record import read_record
    from vit_cli.train.folder import find_run

    folder = find_run(run)
    page = report_again(folder, evaluate, out)
    record = read_record(folder)
    if json:
        scores = gather_scores(record, read_evaluation(record))
        facts = {"run": str(folder.path), "state": record.state, "page": str(page), "bytes": page.stat().st_size}
        show_json(facts | {"scores": scores})
    elif not quiet:
        show_result(f"{page}  ({page.stat().st_size / 1e6:.1f} MB; the run is {record.state})")

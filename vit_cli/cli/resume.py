"""`vit resume`: go on with a run, with exactly the same plan."""

from __future__ import annotations

from typing import Annotated

import typer

from vit_cli.cli import flags
from vit_cli.errors import UsageError

RunTokens = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] [KEY=VALUE]...",
        help="A run folder, the latest if left out; then changes of what does not change the result, e.g. data.workers=4.",
        show_default=False,
    ),
]


def resume(
    tokens: RunTokens = None,
    devices: flags.Devices = "auto",
    time: flags.Time = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Go on with a stopped run exactly where its last checkpoint stands."""
    from vit_cli.cli.console import make_progress, show_json, show_result
    from vit_cli.cli.finish import end_now, finish
    from vit_cli.cli.launch import launch_processes
    from vit_cli.dist.place import find_place
    from vit_cli.recipe.difference import may_resume_with
    from vit_cli.train.course import Options
    from vit_cli.train.folder import find_run
    from vit_cli.train.resume import resume_run
    from vit_cli.train.stop import read_time

    run, changes = flags.split_tokens(tokens or [], "resume takes one RUN")
    folder = find_run(run)
    seconds = read_time(time) if time else None
    if launch_processes(devices):
        return
    options = Options(devices=devices, seconds=seconds, end=end_now)
    outcome = resume_run(folder, options, make_progress(quiet, verbose), changes)
    if outcome is not None:
        finish(outcome, json=json, quiet=quiet)
    elif find_place().rank > 0:
        return
    elif refused := [change for change in changes if not may_resume_with(change.partition("=")[0])]:
        raise UsageError(
            f"{folder.path} is finished, so nothing of it can change: {' '.join(refused)}",
            f"To train its weights further: vit finetune {folder.path}",
        )
    elif json:
        show_json(folder.read_json("summary.json"))
    elif not quiet:
        show_result(f"{folder.path} is finished; to train its weights further: vit finetune {folder.path}")

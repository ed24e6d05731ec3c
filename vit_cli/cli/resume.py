"""`vit resume`: go on with a run, with exactly the same plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vit_cli.cli import flags

RunArgument = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A run folder; the latest if left out.", show_default=False)
]


def resume(
    run: RunArgument = None,
    devices: flags.Devices = "auto",
    time: flags.Time = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Go on with a stopped run exactly where its last checkpoint stands."""
    from vit_cli.cli.console import make_progress, show_result
    from vit_cli.cli.finish import finish
    from vit_cli.dist import launch_processes
    from vit_cli.train.folder import find_run
    from vit_cli.train.start import Options, resume_run
    from vit_cli.train.stop import read_time

    folder = find_run(run)
    launch_processes(devices)
    options = Options(devices=devices, seconds=read_time(time) if time else None)
    outcome = resume_run(folder, options, make_progress(quiet, verbose))
    if outcome is None:
        show_result(f"{folder.path} is finished; to train its weights further: vit finetune {folder.path}")
    else:
        finish(outcome, json=json, quiet=quiet)

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
    from vit_cli.cli.console import make_progress, show_json, show_result
    from vit_cli.cli.finish import finish
    from vit_cli.cli.launch import launch_processes
    from vit_cli.dist.place import find_place
    from vit_cli.train.folder import find_run
    from vit_cli.train.start import Options, resume_run
    from vit_cli.train.stop import read_time

    folder = find_run(run)
    seconds = read_time(time) if time else None
    if launch_processes(devices):
        return
    outcome = resume_run(folder, Options(devices=devices, seconds=seconds), make_progress(quiet, verbose))
    if outcome is not None:
        finish(outcome, json=json, quiet=quiet)
    elif find_place().rank > 0:
        return
    elif json:
        show_json(folder.read_json("summary.json"))
    elif not quiet:
        show_result(f"{folder.path} is finished; to train its weights further: vit finetune {folder.path}")

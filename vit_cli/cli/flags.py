"""The flags that several verbs share, each declared once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vit_cli.errors import UsageError

RUNNING, OUTPUT = "Running", "Output"


def remember_debug(wanted: bool) -> bool:
    """Let `main` show tracebacks."""
    if wanted:
        os.environ["VIT_DEBUG"] = "1"
    return wanted


def read_out(text: str) -> Path:
    """Read --out; UsageError for an empty text (of an unset variable, say), which as a path would be the current folder."""
    if not text:
        raise UsageError("--out is empty", "Name a folder, or leave --out away.")
    return Path(text)


Recipe = Annotated[str, typer.Argument(help="A shipped recipe's name (vit recipe list) or a path.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe, e.g. optim.lr=3e-4.", show_default=False),
]
Tokens = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FROM] [KEY=VALUE]...",
        help="What to start from: run folder, checkpoint or model folder (the latest run if left out); then changes to the recipe.",
        show_default=False,
    ),
]
Model = Annotated[
    Path,
    typer.Argument(help="A checkpoint, a run, a model folder, or weights of another library.", show_default=False),
]
Runnable = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint, a run, a model folder, an exported .onnx file, or weights of another library.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="The run folder; new or empty.", metavar="<path>", parser=read_out, rich_help_panel=OUTPUT
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="The run's name, in place of the recipe's.", rich_help_panel=OUTPUT)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Allow an --out that is not empty.", rich_help_panel=OUTPUT)
]
Devices = Annotated[
    str,
    typer.Option("--devices", help="auto, cpu, a number of processes, or GPUs such as 0,1.", rich_help_panel=RUNNING),
]
Time = Annotated[
    str | None, typer.Option("--time", help="Save and stop after e.g. 90m or 2h.", rich_help_panel=RUNNING)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        help="Make a few steps; show plan, FLOPs, speed, memory, time; stop.",
        rich_help_panel=RUNNING,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.", rich_help_panel=OUTPUT)]
ResultOnly = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show the result and errors only.", rich_help_panel=OUTPUT)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show lines with the time.", rich_help_panel=OUTPUT)]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug, rich_help_panel=OUTPUT),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Class folders, a folder with train/ and val/, a pack, a table (.csv, .tsv) that names images, or parquet files.",
        show_default=False,
    ),
]
Res = Annotated[
    int | None, typer.Option("--res", min=1, help="Resolution in pixels; positions are stretched.", show_default=False)
]


def split_tokens(tokens: list[str], rule: str) -> tuple[Path | None, list[str]]:
    """Tell a path and changes apart: a token with an `=` is a change, never a path; UsageError for more than one path."""
    paths = [token for token in tokens if "=" not in token]
    if len(paths) > 1:
        raise UsageError(f"{rule}, not {len(paths)}: {' '.join(paths)}")
    return (Path(paths[0]) if paths else None), [token for token in tokens if "=" in token]


def check_place(path: Path, flag: str) -> None:
    """Raise UsageError, before anything is computed, if a file can't be written at `path`, which a flag names."""
    place = path.resolve()
    if place.is_dir():
        raise UsageError(f"{flag} {path} is a folder", "Name a file in it.")
    if not place.parent.is_dir():
        missing = place.parent if path.is_symlink() else path.parent
        raise UsageError(f"{flag} {path}: there is no folder {missing}", "Make it first.")
    if not os.access(place if place.exists() and not place.is_file() else place.parent, os.W_OK):  # a pipe, say
        raise UsageError(f"{flag} {path} can't be written", "Name a place that you can write in.")

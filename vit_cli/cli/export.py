"""`vit export`: a model in the form of another tool."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import show_json, show_note, show_result


class Target(str, Enum):
    """The forms that a model can be written in."""

    TIMM = "timm"
    HF = "hf"
    SAFETENSORS = "safetensors"


Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[model.KEY=VALUE]...",
        help="Settings that leave the weights as they are, where the other tool has none but its own.",
        show_default=False,
    ),
]
Format = Annotated[
    Target,
    typer.Option("--format", help="timm, hf (Hugging Face's transformers), or safetensors (our own names)."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The folder to write; export/FORMAT in the run if left out.",
        metavar="<path>",
        parser=flags.read_out,
        rich_help_panel=flags.OUTPUT,
    ),
]


def export(
    model: flags.Model,
    target: Format,
    changes: Changes = None,
    out: Out = None,
    overwrite: flags.Overwrite = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Write a model as timm or transformers load it, with class names and preprocessing."""
    from vit_cli.export.write import export_model

    done = export_model(model, target.value, out, overwrite, changes or [])
    if json:
        show_json(
            {
                "out": str(done.folder),
                "format": target.value,
                "files": done.files,
                "load": done.loading,
                "changes": done.changes,
            }
        )
    elif not quiet:
        show_result(f"{done.folder}: {', '.join(done.files)}; {done.classes} classes")
        for change in done.changes:
            show_result(f"changed  {change}")
        show_note(f"load it:  {done.loading}")

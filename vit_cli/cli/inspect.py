"""`vit inspect`: draw what a model learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import make_progress, show_json, show_note, show_result, show_table
from vit_cli.errors import UsageError

Images = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Images, or folders of them, to look at; the model's own validation images if left out.",
        show_default=False,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option("--against", help="Another model, drawn to the right of the first.", show_default=False),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="filters,distance",
        help="filters, positions, distance, attention, rollout, similarity, features or projection; with commas.",
        show_default=False,
    ),
]
Layer = Annotated[
    int | None,
    typer.Option(
        "--layer", min=1, help="The layer whose attention is drawn; the last if not given.", show_default=False
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--count", min=1, help="Images to measure with; 128 or more, as the model's size allows.", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The folder for the pictures; inspect/ of the run if left out.",
        metavar="<path>",
        parser=flags.read_out,
        rich_help_panel=flags.OUTPUT,
    ),
]


def inspect(
    model: flags.Model,
    images: Images = None,
    against: Against = None,
    only: Only = None,
    layer: Layer = None,
    data: flags.Data = None,
    res: flags.Res = None,
    count: Count = None,
    out: Out = None,
    overwrite: flags.Overwrite = False,
    devices: flags.Devices = "auto",
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Draw what a model learned: filters, positions, attention, features; alone, or beside another model."""
    from vit_cli.dist.world import join_world
    from vit_cli.evaluate.saved import get_ready
    from vit_cli.export.write import choose_folder
    from vit_cli.inspect.look import call, find_albums, find_place, look, make_sights, read_only, write

    if images and data:
        raise UsageError("images and --data are two answers to one question", "Leave one of them out.")
    wanted = read_only(only)
    folder = out or (find_place(model) if against is None else find_place(model) / f"against_{call(against)}")
    if out is not None:
        choose_folder(out, overwrite or (out / "inspect.json").is_file())  # pictures of an earlier call may go
    world = join_world(devices)
    models = [(path, get_ready(path, world, res, needs_head=False)) for path in (model, against) if path]
    progress = make_progress(quiet or json, verbose=False)
    for _, ready in models:
        for change in ready.changes:
            progress.note(change)
    albums = find_albums([ready for _, ready in models], images or [], data, count, wanted)
    sights = make_sights(models, albums, layer)
    findings = look(sights, wanted)
    facts = write(folder, findings, sights)
    if json:
        show_json(facts)
        return
    show_table(["picture", "shows"], list_rows(findings.lines))
    for name, reason in findings.left_out.items():
        show_note(f"no {name}: {reason}")
    show_result(f"pictures: {folder}")


def list_rows(lines: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Give a row for each picture and model."""
    for name, said in lines.items():
        yield from zip([name, *[""] * (len(said) - 1)], said, strict=True)

"""`vit data pack` and `vit data import`: shards of our own, and an index for those of others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vit_cli.cli import flags
from vit_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vit_cli.data.pack import Packed
    from vit_cli.data.source import Source

SIZE = re.compile(r"(\d{1,12})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SMALLEST, LARGEST = 2**12, 2**40


def read_size(text: str) -> int:
    """Read a number of bytes: 256M, 1G. Raises UsageError."""
    match = SIZE.fullmatch(text.strip())
    size = int(match[1]) * UNITS[match[2].upper()] if match else 0
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"--shards {text!r} is no size of a shard", "Write for example 256M or 1G; at least 4K.")
    return size


Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes; one per core if left out.", rich_help_panel=flags.RUNNING),
]


def pack(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Images as for --data (class folders, a table, parquet, ...), or a recipe: its data.train.",
            show_default=False,
        ),
    ],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="A folder; new, empty, or of a pack that was cut short.")
    ],
    short_side: Annotated[
        int | None,
        typer.Option(
            "--short-side", min=8, help="Reduce larger images to this short side, in pixels.", show_default=False
        ),
    ] = None,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="JPEG quality of reduced images.")] = 92,
    shards: Annotated[str, typer.Option("--shards", metavar="SIZE", help="About how large a shard shall be.")] = "256M",
    format: Annotated[
        Literal["wds", "arrow"], typer.Option("--format", help="wds: WebDataset tars; arrow: Parquet of Hugging Face.")
    ] = "wds",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the order.")] = 0,
    split: Annotated[
        str, typer.Option("--split", help="Which split to pack where there are several: train, val, or its name.")
    ] = "train",
    max_bad: Annotated[
        float, typer.Option("--max-bad", min=0, max=1, help="Share of broken images that is allowed.")
    ] = 0.001,
    workers: Workers = None,
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Copy images, shuffled, into a few large files: quick to read from disks and networks, readable by others.

    A pack that was cut short goes on when the same command is given again.
    """
    from vit_cli.cli.console import show_note
    from vit_cli.data.pack import pack_images
    from vit_cli.data.pack_shard import PackOptions

    images, max_pixels = find_source(source, split)
    chosen = {"format": format, "short_side": short_side, "quality": quality, "seed": seed, "split": split}
    options = PackOptions.model_validate(chosen | {"shard_bytes": read_size(shards), "max_pixels": max_pixels})
    try:
        result = pack_images(images, dest, options, workers, max_bad, choose_say(quiet))
    except KeyboardInterrupt:
        show_note(f"stopped; the same command goes on with {dest}")
        raise
    show_packed(result, json)


def choose_say(quiet: bool) -> Callable[[str], None]:
    """Give what tells of progress: nothing, if it shall be quiet."""
    from vit_cli.cli.console import show_note

    return (lambda _text: None) if quiet else show_note


def show_packed(result: Packed, json: bool) -> None:
    """Show a finished pack or index."""
    from vit_cli.cli.console import show_json, show_result

    if json:
        show_json(result.facts())
    else:
        show_result(result.describe())


def find_source(text: str, split: str) -> tuple[Source, int]:
    """Give the images that a path or a recipe means, and how many pixels one may have. Raises VitError if there are none."""
    from vit_cli.data.folder import Folder
    from vit_cli.data.hf import HuggingFace
    from vit_cli.data.shards import Shards
    from vit_cli.recipe.data import load_data

    asked = load_data(text)
    if asked.task != "classification":
        raise UsageError(f"{text} asks for {asked.task}", "A pack holds images of classes; train on the table itself.")
    named = {"train": asked.data.train, "val": asked.data.val}
    if (source := named.get(split)) is not None:
        return source, asked.data.max_pixels
    train = asked.data.train
    has_splits = isinstance(train, Folder | Shards) or (
        isinstance(train, HuggingFace) and not Path(train.path).is_absolute()
    )
    if split in named or not has_splits:
        raise DataError(f"{text} has no split {split!r}", "leave --split away, or name the images themselves")
    return train.model_copy(update={"split": split}), asked.data.max_pixels


def import_tars(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A folder of WebDataset tars, or one tar.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the index goes, if not beside the tars.", show_default=False),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option("--classes", help="A text file with the name of a class a line.", show_default=False)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all; against the checksums of an index that is there already.")
    ] = False,
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Do without shards that are missing.")] = False,
    workers: Workers = None,
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Make WebDataset tars usable where they lie: write an index of them, copy nothing."""
    from vit_cli.data.tar_import import Options, import_shards

    show_packed(import_shards(source, out, Options(classes, verify, allow_gaps, workers), choose_say(quiet)), json)

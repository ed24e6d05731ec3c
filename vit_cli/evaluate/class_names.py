"""Names for the classes of foreign weights that tell none: until somebody gives them, they are numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vit_cli.checkpoint.model import Saved
from vit_cli.data.source import Source, source_from_path
from vit_cli.data.targets import open_source
from vit_cli.errors import UsageError
from vit_cli.recipe.plain import read_section


def are_numbers(saved: Saved) -> bool:
    """Tell whether classes are called by their numbers, for the weights, which are not of vit, name none."""
    names = saved.class_names
    return "imported" in saved.about and bool(names) and names == tuple(map(str, range(len(names))))


def explain_numbers(saved: Saved) -> str:
    """Say how classes that are numbers get names."""
    file = saved.about["imported"]["file"]
    return (
        f"Name them: vit import {file} --classes FILE (a name a line, or the folder of images they learned from).\n"
        "Or train a head for your own classes: vit finetune FROM --data DIR"
    )


def give_names(saved: Saved, source: Path) -> Saved:
    """Name the classes as `source` does: a text file with a name a line, or data that `--data` can name.

    Raises UsageError if they are not as many as the head has classes, or if a name is there twice.
    """
    names = read_names(source)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--classes {source} has the name '{twice}' more than once")
    if len(names) != len(saved.class_names):
        raise UsageError(
            f"--classes {source} names {len(names)} classes, the weights' head has {len(saved.class_names)}",
            "Write a name per class, in the order of the head.",
        )
    return replace(saved, about=saved.about | {"class_names": names})


def read_names(source: Path) -> list[str]:
    """Read the lines that are not empty, or the classes of a folder of images in their order. Raises UsageError, DataError."""
    if source.is_dir():
        return list(open_source(read_section(Source, source_from_path(source)[0]), "classification").classes)
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {source} can't be read: {getattr(error, 'strerror', 'it is no text')}") from error
    return [line.strip() for line in lines if line.strip()]

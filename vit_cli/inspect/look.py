"""Look into one model, or two side by side: choose the pictures, draw them, write them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vit_cli.checkpoint.commit import commit_json
from vit_cli.checkpoint.model import find_home
from vit_cli.errors import DataError, UsageError
from vit_cli.evaluate.images import open_folder_data, open_own_data
from vit_cli.evaluate.predict import list_images
from vit_cli.evaluate.saved import Ready
from vit_cli.inspect.album import NO_IMAGES, Album, count_images, read_albums
from vit_cli.inspect.board import HALF, SINGLE, Board, make_page
from vit_cli.inspect.parts import find_parts
from vit_cli.inspect.pictures import PICTURES
from vit_cli.inspect.sight import Sight

NUMBERS = "inspect.json"
SAMPLE = 16
"""So many images tell whether they are grey."""
KINDS = {
    "vit": "ViT",
    "deit": "DeiT",
    "tnt": "TNT",
    "hybrid": "Hybrid ViT",
    "cct": "CCT",
    "resnet": "ResNet",
    "convnext": "ConvNeXt",
}


@dataclass(frozen=True)
class Findings:
    """The pages by their names, a line on each for each model, why others were left out, and everything in numbers."""

    pages: Mapping[str, Board]
    lines: Mapping[str, Sequence[str]]
    left_out: Mapping[str, str]
    numbers: Mapping[str, Any]


def read_only(text: str | None) -> list[str] | None:
    """Read `filters,positions`; UsageError, with all names, for one that is unknown."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PICTURES:
            raise UsageError(f"--only {text}: there is no picture '{name}'", f"Pictures: {', '.join(PICTURES)}.")
    return [name for name in PICTURES if name in names]


def find_place(model: Path) -> Path:
    """Give the folder for the pictures of a model: `inspect` in its run, or beside the file or in the model folder."""
    return find_home(model.resolve()) / "inspect"


def call(model: Path) -> str:
    """Give a model's name: that of its run, with the checkpoint's behind it, of its folder or its file."""
    path = model.resolve()
    home = find_home(path)
    if path.is_dir() or not (home / "resolved.yaml").is_file():
        return home.name if path.is_dir() else path.stem
    return home.name if path.stem == "model" else f"{home.name}_{path.stem}"


def entitle(model: Path, ready: Ready) -> str:
    """Say which model it is and what it is like."""
    section = ready.saved.about["model"]
    size = section.get("size")
    words = [f"{KINDS[section['name']]}{f' {size}' if size else ''}", f"{ready.res} pixels"]
    parts = find_parts(ready.model)
    if parts.lattice is not None:
        words.insert(1, f"{len(parts.layers)} layers, {parts.lattice.grid} patches")
    return f"{call(model)}:  {', '.join(words)}"


def find_albums(
    readies: Sequence[Ready], images: Sequence[Path], data: Path | None, count: int | None, only: Sequence[str] | None
) -> list[Album]:
    """Do what `open_albums` does if a picture needs images; else see what images there are, and give none if there are none."""
    if any(PICTURES[name].needs_images for name in (only or PICTURES)):
        return open_albums(readies, images, data, count)
    try:
        return open_albums(readies, images, data, SAMPLE)
    except (DataError, UsageError):
        if images or data:
            raise
        return [NO_IMAGES] * len(readies)


def open_albums(readies: Sequence[Ready], images: Sequence[Path], data: Path | None, count: int | None) -> list[Album]:
    """Read the images to look at, for each model: those that are named, those of `data`, or the first one's validation images.

    Raises UsageError or DataError if there are none, and DataError, naming the file, for one that is broken.
    """
    first = readies[0]
    most = count or count_images(first)
    if images or (data and not first.class_names):
        return read_albums(readies, list_images(images or [data or Path()]), most)
    try:
        samples = open_folder_data(data, None, first.saved) if data else open_own_data(first.saved)
    except (DataError, UsageError) as error:
        if data:
            raise
        raise type(error)(
            f"there are no images to look at: {error.problem}",
            "Name images or folders of them after the model, or --data DIR; --only filters,positions needs none.",
        ) from error
    return read_albums(readies, samples, most)


def look(sights: Sequence[Sight], only: Sequence[str] | None) -> Findings:
    """Draw the pictures that were asked for, or all that the models have.

    Raises UsageError for a picture that was asked for by name and that a model does not have.
    """
    pages, lines, left_out, numbers = {}, {}, {}, {}
    reasons = {name: find_reason(name, sights) for name in (PICTURES if only is None else only)}
    for name, reason in reasons.items():
        if reason and only is not None:
            able = [other for other in PICTURES if not find_reason(other, sights)]
            raise UsageError(f"--only {name}: {reason}", f"It has {', '.join(able)}.")
    for name, reason in reasons.items():
        if reason:
            left_out[name] = reason
            continue
        picture = PICTURES[name]
        panels = [(sight.title, picture.draw(sight)) for sight in sights]
        pages[name] = make_page(picture.title, panels, picture.look)
        lines[name] = [panel.summary for _, panel in panels]
        found = [panel.numbers for _, panel in panels]
        numbers[name] = found[0] if len(found) == 1 else found
    return Findings(pages, lines, left_out, numbers)


def find_reason(name: str, sights: Sequence[Sight]) -> str:
    """Say why a picture can't be drawn, of the first model that lacks it; nothing if all have it."""
    reasons = ((sight.name, PICTURES[name].lack(sight)) for sight in sights)
    return next((f"{model}: {reason}" for model, reason in reasons if reason), "")


def make_sights(models: Sequence[tuple[Path, Ready]], albums: Sequence[Album], layer: int | None) -> list[Sight]:
    """Give each model its title, its images, and the width of its panels."""
    width = SINGLE if len(models) == 1 else HALF
    return [
        Sight(entitle(path, ready), ready, find_parts(ready.model), album, width, layer)
        for (path, ready), album in zip(models, albums, strict=True)
    ]


def write(folder: Path, findings: Findings, sights: Sequence[Sight]) -> dict[str, Any]:
    """Write the pages as PNG and all numbers as JSON into a folder; give what the JSON holds. Raises TrainingError."""
    make_folder(folder)
    for name, page in findings.pages.items():
        page.save(folder / f"{name}.png")
    content = {
        "models": [describe(sight) for sight in sights],
        "images": len(sights[0].album.images),
        "shown": [sights[0].album.names[place] for place in sights[0].album.shown],
        "pictures": {name: str(folder / f"{name}.png") for name in findings.pages},
        "left_out": dict(findings.left_out),
        **findings.numbers,
    }
    commit_json(folder / NUMBERS, content)
    return content


def make_folder(folder: Path) -> None:
    """Make the folder for the pictures; UsageError where it can't be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} can't be made: {error.strerror}", "Name another place with --out.") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} can't be written", "Name another place with --out.")


def describe(sight: Sight) -> dict[str, Any]:
    """Say in plain values what a model is like."""
    lattice = sight.parts.lattice
    return {
        "title": sight.title,
        "path": str(sight.ready.saved.path),
        "name": sight.ready.saved.about["model"]["name"],
        "res": list(sight.ready.res),
        "layers": len(sight.parts.layers),
        "grid": None if lattice is None else list(lattice.grid),
        "reads": sight.parts.reads,
    }

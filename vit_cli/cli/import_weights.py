"""`vit import`: weights of other libraries become a model folder of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import show_json, show_note, show_result
from vit_cli.errors import UsageError

if TYPE_CHECKING:
    from vit_cli.checkpoint.model import Saved

FAMILIES = (
    "google-hybrid",
    "google",
    "torchvision",
    "torchvision-resnet",
    "torchvision-convnext",
    "hf",
    "hf-dinov2",
    "hf-dinov3",
    "timm-tnt",
    "timm-hybrid",
    "cct",
    "dinov3",
    "dinov2",
    "deit",
    "dino",
    "timm",
)
"""The names of `NAMINGS` of models/weights/known.py, which takes a second to import."""

Weights = Annotated[
    Path, typer.Argument(help="A .npz, .safetensors or .pth file, or a folder with config.json.", show_default=False)
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[model.KEY=VALUE]...",
        help="What names and shapes can't tell, e.g. model.heads=12; model.res=384 stretches positions.",
        show_default=False,
    ),
]
Family = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help=f"Whose names the weights have, if that is guessed wrongly: {', '.join(FAMILIES)}."
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        help="What the classes are called, in the head's order: a text file with a name a line, or the folder of images "
        "they were learned from.",
        show_default=False,
    ),
]
Match = Annotated[
    bool, typer.Option("--match", help="Stretch positions as the weights' own library does, not bicubic.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The model folder to write; NAME_vit here if left out.",
        metavar="<path>",
        parser=flags.read_out,
        rich_help_panel=flags.OUTPUT,
    ),
]

DEFAULT = "the family's default"
SHOWN = 4
"""So many classes are named."""


def import_weights(
    weights: Weights,
    changes: Changes = None,
    family: Family = None,
    match: Match = False,
    classes: Classes = None,
    out: Out = None,
    overwrite: flags.Overwrite = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Turn published weights into a model folder that every command takes, and say what became of them."""
    from vit_cli.checkpoint.foreign import is_foreign
    from vit_cli.checkpoint.model import write_model
    from vit_cli.evaluate.class_names import are_numbers, give_names
    from vit_cli.evaluate.open import open_weights
    from vit_cli.export.write import choose_folder

    saved = open_weights(weights, family, changes or [], own_stretch=match)
    if not is_foreign(weights):
        raise UsageError(f"{weights} is a model of vit's own already", "Give it to any command as it is.")
    saved = give_names(saved, classes) if classes else saved
    folder = choose_folder(out or Path(f"{weights.absolute().stem}_vit"), overwrite)
    facts = describe(saved)
    write_model(folder, saved.weights, saved.about)
    if json:
        show_json({"out": str(folder), **facts})
    elif not quiet:
        show_report(facts, folder)
        use = f"vit eval {folder} --data DIR   " if saved.class_names and not are_numbers(saved) else ""
        show_note(f"next:  {use}vit finetune {folder} --data DIR")


def describe(saved: Saved) -> dict[str, Any]:
    """Gather what became of the weights."""
    import torch

    from vit_cli.evaluate.class_names import are_numbers
    from vit_cli.models import Model
    from vit_cli.recipe.plain import read_section

    about = saved.about
    section = read_section(Model, about["model"])
    with torch.device("meta"):
        network = section.build(len(saved.class_names))
    imported = about["imported"]
    return {
        "family": imported["family"],
        "title": imported["title"],
        "model": section.model_dump(mode="json", exclude_defaults=True) | {"name": section.name},
        "res": about["res"],
        "parameters": sum(tensor.numel() for tensor in saved.weights.values()),
        "gflops": network.flops() / 1e9,
        "classes": len(saved.class_names),
        "class_names": None if are_numbers(saved) else list(saved.class_names),
        "preprocess": about["preprocess"],
        "preprocess_from": tell_origin(saved.path, imported["family"]),
        "changes": imported["changes"],
    }


def tell_origin(path: Path, family: str) -> str:
    """Say where the preprocessing comes from: a config beside the weights, or what the family does."""
    from vit_cli.checkpoint.foreign import has_config

    if not path.is_dir() and not has_config(path):
        return DEFAULT
    folder = path if path.is_dir() else path.parent
    name = "preprocessor_config.json" if family.startswith("hf") else "config.json"
    is_told = family.startswith(("hf", "timm")) and (folder / name).is_file()
    return name if is_told else DEFAULT


def show_report(facts: Mapping[str, Any], folder: Path) -> None:
    """Show what became of the weights."""
    from vit_cli.cli.layout import format_facts

    images, told = facts["preprocess"], facts["preprocess_from"]
    told = f"a guess: {told}, for no config tells" if told == DEFAULT else told
    keys = [f"{key} {value}" for key, value in facts["model"].items() if key not in ("name", "res")]
    rows, columns = facts["res"]
    shown = {
        "weights": facts["title"],
        "model": ", ".join([facts["model"]["name"], f"{rows}x{columns} pixels", *keys]),
        "size": f"{facts['parameters'] / 1e6:.2f} M parameters, {facts['gflops']:.3g} GFLOPs an image",
        "classes": describe_classes(facts["classes"], facts["class_names"]),
        "images": "mean {} std {}".format(*(" ".join(f"{n:g}" for n in images[key]) for key in ("mean", "std")))
        + f", crop {images['crop']:g} {images['resize']} {images['interpolation']} ({told})",
        **split_changes(facts["changes"]),
        "model folder": folder,
    }
    show_result(format_facts(shown))


def describe_classes(number: int, names: list[str] | None) -> str:
    """Count the classes, and name the first ones if they have names."""
    if not number:
        return "none: the weights have no head"
    if names is None:
        return f"{number}, without names: --classes FILE gives them"
    return f"{number}: {', '.join(names[:SHOWN])}{', ...' if number > SHOWN else ''}"


def split_changes(changes: list[str]) -> dict[str, str]:
    """Gather lines such as "dropped  mask_token (...)" under their first word."""
    gathered: dict[str, list[str]] = {}
    for line in changes:
        word, _, rest = line.partition("  ")
        gathered.setdefault(word, []).append(rest)
    return {word: "\n".join(lines) for word, lines in gathered.items()}

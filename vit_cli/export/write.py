"""Export a model: open it, bring it to the target's form, write a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import CONFIG, WEIGHTS, Saved, write_folder
from vit_cli.errors import UsageError
from vit_cli.evaluate.open import open_weights
from vit_cli.export.huggingface import to_huggingface
from vit_cli.export.safetensors import to_safetensors
from vit_cli.export.target import Export, Source, refuse
from vit_cli.export.timm import to_timm
from vit_cli.models import Model
from vit_cli.models.adapt import check_fit
from vit_cli.recipe.plain import read_section
from vit_cli.section import as_grid

Format = Literal["timm", "hf", "safetensors"]
TITLES: dict[Format, str] = {"timm": "timm", "hf": "Hugging Face's transformers", "safetensors": "safetensors"}
OTHERS: dict[Format, Callable[[Source], Export]] = {"timm": to_timm, "hf": to_huggingface}


@dataclass(frozen=True)
class Exported:
    """What was written, and the line that loads it."""

    folder: Path
    files: tuple[str, ...]
    loading: str
    classes: int


def export_model(path: Path, target: Format, out: Path | None = None, overwrite: bool = False) -> Exported:
    """Write the model at `path` (ours, or foreign weights) as a folder of `target`.

    Raises UsageError for a model that the target can't express, before anything is written, and for a folder that is taken;
    CheckpointError for a model that can't be read.
    """
    saved = open_weights(path)
    folder = choose_folder(out or default_folder(path, target), overwrite)
    export = to_safetensors(saved) if target == "safetensors" else OTHERS[target](read_source(saved, target))
    write_folder(folder, export.weights, export.files)
    files = (WEIGHTS, *export.files)
    return Exported(folder, files, export.loading.format(folder=folder), len(saved.class_names))


def read_source(saved: Saved, target: Format) -> Source:
    """Give what is to be exported; CheckpointError if its weights do not fit its own section."""
    section: Model = read_section(Model, saved.about["model"])
    task = saved.about.get("task", "classification")
    refuse(TITLES[target], [(task == "regression", "task: regression, whose answers vit scales to the targets' range")])
    with torch.device("meta"):
        model = section.build(len(saved.class_names))
    check_fit(model, saved.weights)
    preprocess: Preprocess = read_section(Preprocess, saved.about["preprocess"])
    return Source(section, saved.weights, as_grid(section.res), preprocess, saved.class_names, task)


def default_folder(path: Path, target: Format) -> Path:
    """Give `export/<target>` in the run that `path` is of, else a folder beside where one works, named for both."""
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    if (run / "model" / CONFIG).is_file():
        return run / "export" / target
    return Path(f"{path.absolute().stem}_{target}")


def choose_folder(folder: Path, overwrite: bool) -> Path:
    """Give a folder to write to; UsageError if it is a file, or not empty and not to be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "Name another folder.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} is not empty", "Name another folder with --out, or add --overwrite.")
    return folder.absolute()

"""Export a model: open it, bring it to the target's form, write a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError

from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import WEIGHTS, Saved, find_home, write_folder
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.evaluate.open import open_weights, read_overrides
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
    """What was written, the line that loads it, and in words what differs from the model that was read."""

    folder: Path
    files: tuple[str, ...]
    loading: str
    classes: int
    changes: tuple[str, ...] = ()


def export_model(
    path: Path, target: Format, out: Path | None = None, overwrite: bool = False, changes: Sequence[str] = ()
) -> Exported:
    """Write the model at `path` (ours, or foreign weights) as a folder of `target`, with `changes` ("model.KEY=VALUE").

    Raises UsageError for a model that the target can't express, before anything is written, for a folder that is taken, and
    for a change that the weights do not allow; CheckpointError for a model that can't be read.
    """
    before = open_weights(path)
    saved = change_model(before, changes) if changes else before
    folder = choose_folder(out or default_folder(path, target), overwrite)
    export = to_safetensors(saved) if target == "safetensors" else OTHERS[target](read_source(saved, target))
    write_folder(folder, export.weights, export.files)
    files = (WEIGHTS, *export.files)
    loading = export.loading.format(folder=folder)
    return Exported(folder, files, loading, len(saved.class_names), compare_models(before, saved))


def change_model(saved: Saved, changes: Sequence[str]) -> Saved:
    """Give the same weights to a model with other settings; UsageError for one that they do not fit."""
    section: Model = read_section(Model, saved.about["model"])
    plain = section.model_dump(mode="json") | read_overrides(changes)
    try:
        changed = type(section).model_validate_json(json.dumps(plain), strict=True)
        check_weights(saved, changed)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(['model', *map(str, first['loc'])])}: {first['msg']}") from error
    except CheckpointError as error:
        raise UsageError(f"{' '.join(changes)}: {error.problem}", "An export keeps the weights as they are.") from error
    about = saved.about | {"model": changed.model_dump(mode="json"), "res": list(as_grid(changed.res))}
    return replace(saved, about=about)


def compare_models(before: Saved, after: Saved) -> tuple[str, ...]:
    """Tell the settings that differ: "norm_eps 1e-12 -> 1e-06"."""
    old, new = (read_section(Model, saved.about["model"]).model_dump(mode="json") for saved in (before, after))
    return tuple(f"{key} {old[key]} -> {value}" for key, value in new.items() if value != old[key])


def check_weights(saved: Saved, section: Model) -> None:
    """Raise CheckpointError unless the weights are those of a model of this section."""
    with torch.device("meta"):
        model = section.build(len(saved.class_names))
    check_fit(model, saved.weights)


def read_source(saved: Saved, target: Format) -> Source:
    """Give what is to be exported; CheckpointError if its weights do not fit its own section."""
    section: Model = read_section(Model, saved.about["model"])
    task = saved.about.get("task", "classification")
    refuse(TITLES[target], [(task == "regression", "task: regression, whose answers vit scales to the targets' range")])
    check_weights(saved, section)
    preprocess: Preprocess = read_section(Preprocess, saved.about["preprocess"])
    return Source(section, saved.weights, as_grid(section.res), preprocess, saved.class_names, task)


def default_folder(path: Path, target: Format) -> Path:
    """Give `export/<target>` in the run that `path` is of, else a folder beside where one works, named for both."""
    exports = find_exports(path)
    return exports / target if exports else Path(f"{path.absolute().stem}_{target}")


def find_exports(path: Path) -> Path | None:
    """Give the folder for exports in the run that a model is of; None if it is of none."""
    run = find_home(path.absolute())
    return run / "export" if (run / "resolved.yaml").is_file() else None


def choose_folder(folder: Path, overwrite: bool) -> Path:
    """Give a folder to write to; UsageError if it is a file, a run, not empty and not to be overwritten, or can't be made."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "Name another folder.")
    if (folder / "resolved.yaml").is_file():
        raise UsageError(f"{folder} is the folder of a run", "Name another folder.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} is not empty", "Name another folder with --out, or add --overwrite.")
    check_writable(folder)
    return folder.absolute()


def check_writable(place: Path) -> None:
    """Raise UsageError, before anything is computed, if there can't be a file or folder at `place`."""
    above = place.absolute().parents
    there = next(path for path in (above if place.is_file() else (place, *above)) if path.exists())
    if not there.is_dir():
        raise UsageError(f"{place} can't be written: {there} is a file", "Name another place with --out.")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{place} can't be written", "Name a place that you can write in with --out.")

"""A model as it was saved: weights, and all that is needed to use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vit_cli.checkpoint.commit import commit, told
from vit_cli.checkpoint.file import FORMAT_VERSION, read_checkpoint
from vit_cli.errors import CheckpointError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PARTS = ("model", "ema", "about")
ABOUT = ("model", "res", "class_names", "preprocess")


@dataclass(frozen=True)
class Saved:
    """A model as it was saved: the weights to evaluate (the average ones if there are), and what belongs to them.

    `about` has `model` (the recipe's section), `res` [rows, columns], `class_names`, `preprocess`, `data` and `held`.
    """

    path: Path
    weights: dict[str, Tensor]
    about: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.about["class_names"])


def write_model(folder: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a model folder: weights as safetensors, everything else as JSON."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    commit(folder / WEIGHTS, lambda aside: save_file(tensors, aside, metadata={"format": "pt"}))
    text = json.dumps({"format_version": FORMAT_VERSION, **about}, indent=2, ensure_ascii=False)
    commit(folder / CONFIG, lambda aside: aside.write_text(text + "\n", encoding="utf-8"))


def open_model(path: Path) -> Saved:
    """Read the model of a checkpoint file, a run folder or a model folder."""
    if path.is_dir():
        return open_folder(path)
    content = read_checkpoint(path)
    missing = [key for key in PARTS if not isinstance(content.get(key), dict)]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    check_about(content["about"], path)
    return Saved(path, content["model"] | content["ema"], content["about"])


def open_folder(path: Path) -> Saved:
    """Read a model folder, or the one inside a run folder; a run that has none yet gives its last checkpoint."""
    folder = path if (path / CONFIG).is_file() else path / "model"
    if not (folder / CONFIG).is_file():
        last = path / "checkpoints" / "last.pt"
        if last.is_file():
            return open_model(last)
        raise CheckpointError(
            f"{path} holds no model", f"A run folder has model/{CONFIG}, a model folder {CONFIG} and {WEIGHTS}."
        )
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the model in {folder} can't be read: {error}") from error
    if not isinstance(about, dict) or about.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{folder / CONFIG} is not of format version {FORMAT_VERSION}, which this vit reads")
    check_about(about, folder / CONFIG)
    return Saved(folder, weights, about)


def check_about(about: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError unless `about` has what makes weights a model again, each of the right kind."""
    missing = [key for key in ABOUT if key not in about]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    wrong = [key for key, fits in SHAPES.items() if key in about and not fits(about[key])]
    if wrong:
        raise CheckpointError(f"{path} has a strange {', '.join(wrong)}", "It was changed by hand or is damaged.")


def is_text_list(value: Any) -> bool:
    """Tell a list of texts, not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def is_grid(value: Any) -> bool:
    """Tell [rows, columns]."""
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int and item > 0 for item in value)


def is_section(value: Any) -> bool:
    """Tell keys with values."""
    return isinstance(value, dict)


def are_thresholds(value: Any) -> bool:
    """Tell a hash of 63 bits for each name, or none."""
    return value is None or (isinstance(value, dict) and all(type(v) is int and 0 <= v < 2**63 for v in value.values()))


SHAPES: dict[str, Callable[[Any], bool]] = {
    "model": is_section,
    "preprocess": is_section,
    "res": is_grid,
    "class_names": is_text_list,
    "data": lambda value: value is None or is_section(value),
    "recipe": is_section,
    "held": are_thresholds,
}
"""What each part of `about` must be like, as far as it shows without the sections it stands for."""

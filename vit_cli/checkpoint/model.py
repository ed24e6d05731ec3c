"""A model as it was saved: weights, and all that is needed to use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vit_cli.checkpoint.commit import commit, commit_json, told
from vit_cli.checkpoint.file import FORMAT_VERSION, read_checkpoint
from vit_cli.errors import CheckpointError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PARTS = ("model", "ema", "about")
ABOUT = ("model", "res", "class_names", "preprocess")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64)
"""What weights and the counters of normalisation are kept in."""
MAX_CONFIG = 20_000_000
MAX_HEADER = 4_000_000
MAX_TENSORS = 20_000
"""Bytes of the texts, and tensors: far more than any model has, and little enough to be refused at once."""


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
    write_folder(folder, weights, {CONFIG: {"format_version": FORMAT_VERSION, **about}})


def write_folder(folder: Path, weights: Mapping[str, Tensor], files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write weights as safetensors, and each of `files` as JSON, all in one folder."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    commit(folder / WEIGHTS, lambda aside: save_file(tensors, aside, metadata={"format": "pt"}))
    for name, content in files.items():
        commit_json(folder / name, content, indent=2)


def open_model(path: Path) -> Saved:
    """Read the model of a checkpoint file, a run folder or a model folder. Raises CheckpointError, also for weights like NaN."""
    path = folder_of(path)
    if path.is_dir():
        return open_folder(path)
    content = read_checkpoint(path)
    check_parts(content, path)
    weights = content["model"] | content["ema"]
    check_weights(weights, path)
    return Saved(path, weights, content["about"])


def folder_of(path: Path) -> Path:
    """Give the model folder that a file of weights is in, if it is in one; any other path as it is."""
    return path.parent if path.name == WEIGHTS and (path.parent / CONFIG).is_file() else path


def check_parts(content: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError unless a checkpoint has the parts that make a model."""
    missing = [key for key in PARTS if not isinstance(content.get(key), dict)]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    check_about(content["about"], path)


def find_home(model: Path) -> Path:
    """Give the run that a model, a model folder or a checkpoint belongs to, or else the folder that it is in."""
    folder = model if model.is_dir() else model.parent
    is_inside = folder.name in ("model", "checkpoints") and (folder.parent / "resolved.yaml").is_file()
    return folder.parent if is_inside else folder


def open_folder(path: Path) -> Saved:
    """Read a model folder, or the one inside a run folder; a run that has none yet gives its last checkpoint."""
    folder = path if (path / CONFIG).is_file() else path / "model"
    if not (folder / CONFIG).is_file():
        last = path / "checkpoints" / "last.pt"
        if last.is_file():
            return open_model(last)
        raise CheckpointError(f"{path} holds no model", explain_folder(path))
    try:
        about = json.loads(read_small(folder / CONFIG, MAX_CONFIG))
        weights = read_tensors(folder / WEIGHTS)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"the model in {folder} can't be read: {str(error)[:200]}") from error
    if not isinstance(about, dict) or about.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{folder / CONFIG} is not of format version {FORMAT_VERSION}, which this vit reads")
    check_about(about, folder / CONFIG)
    check_weights(weights, folder / WEIGHTS)
    return Saved(folder, weights, about)


def explain_folder(path: Path) -> str:
    """Say what a folder would have to hold; of another format's folder, whose files are not even opened, which it is."""
    if (path / ".metadata").exists():
        return "It is a distributed checkpoint of torch, which can run code when it is loaded; vit does not read it."
    return f"A run folder has model/{CONFIG}, a model folder {CONFIG} and {WEIGHTS}."


def read_small(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; ValueError if it is larger."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit:,} bytes")
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises ValueError if its header is larger than any model's, SafetensorError if it is damaged."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(MAX_HEADER, path.stat().st_size):
        raise ValueError(f"{path.name} is cut short, or its header of {header:,} bytes is no model's")
    with safe_open(path, "pt") as tensors:
        names = tensors.keys()
        if len(names) > MAX_TENSORS:
            raise ValueError(f"{path.name} has {len(names):,} tensors")
        return {name: tensors.get_tensor(name) for name in names}


def check_weights(weights: Mapping[Any, Any], path: Path) -> None:
    """Raise CheckpointError, naming the tensor, if one is no tensor of numbers that a model has, or not finite."""
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise CheckpointError(f"{path}: the weights {name!r:.80} are of a strange kind: {kind}")
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: the weights {name} are not finite", "A model that holds NaN or infinity answers nothing."
            )


def check_about(about: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError unless `about` has what makes weights a model again, each of the right kind."""
    missing = [key for key in ABOUT if key not in about]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    wrong = [key for key, fits in SHAPES.items() if key in about and not fits(about[key])]
    if wrong:
        raise CheckpointError(f"{path} has a strange {', '.join(wrong)}", "It was changed by hand or is damaged.")


def is_text_list(value: Any) -> bool:
    """Tell a list of texts; it is empty for a model without a head."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_grid(value: Any) -> bool:
    """Tell [rows, columns]."""
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int and item > 0 for item in value)


def is_section(value: Any) -> bool:
    """Tell keys with values."""
    return isinstance(value, dict)


def is_import(value: Any) -> bool:
    """Tell what is said of weights that came from another library: whose they are, and what became of them."""
    return isinstance(value, dict) and isinstance(value.get("title"), str) and is_text_list(value.get("changes"))


def are_thresholds(value: Any) -> bool:
    """Tell a hash of 63 bits, or two, for each name, or none."""
    return value is None or (isinstance(value, dict) and all(map(is_threshold, value.values())))


def is_threshold(value: Any) -> bool:
    """Tell a hash of 63 bits, or a list of two."""
    hashes = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(type(hash) is int and 0 <= hash < 2**63 for hash in hashes)


SHAPES: dict[str, Callable[[Any], bool]] = {
    "model": is_section,
    "preprocess": is_section,
    "res": is_grid,
    "class_names": is_text_list,
    "data": lambda value: value is None or is_section(value),
    "recipe": is_section,
    "held": are_thresholds,
    "imported": is_import,
}
"""What each part of `about` must be like, as far as it shows without the sections it stands for."""

"""The only place that knows how a checkpoint lies on disk: written aside, synced, renamed; tensors and plain values only."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vit_cli.errors import CheckpointError, TrainingError

FORMAT = "vit checkpoint"
FORMAT_VERSION = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Saved:
    """A model as it was saved: the weights to evaluate (the average ones if there are), and what belongs to them.

    `about` has `model` (the recipe's section), `res` [rows, columns], `class_names`, `preprocess`, `data`, `held`, `format_version`.
    """

    path: Path
    weights: dict[str, Tensor]
    about: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.about["class_names"])


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Commit `content` (tensors and plain values) to `path`: it is there whole, or not at all."""
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    commit(path, lambda aside: torch.save(whole, aside))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours. Nothing in it can run code: whatever is no tensor or plain value is refused."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is damaged or no checkpoint", "A file cut short while it was copied looks like this."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports damage with many kinds of errors
        reason = str(error).partition("\n")[0].partition(" (1)")[0]
        raise CheckpointError(
            f"{path} can't be read as a checkpoint: {type(error).__name__}",
            f"It is damaged, or holds more than tensors and plain values, which vit never loads. {reason[:120]}",
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of vit")
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('format_version')}; this vit reads version {FORMAT_VERSION}"
        )
    return content


def write_model(folder: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a model folder: weights as safetensors, everything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    commit(folder / WEIGHTS, lambda aside: save_file(tensors, aside, metadata={"format": "pt"}))
    text = json.dumps({"format_version": FORMAT_VERSION, **about}, indent=2, ensure_ascii=False)
    commit(folder / CONFIG, lambda aside: aside.write_text(text + "\n", encoding="utf-8"))


def open_model(path: Path) -> Saved:
    """Read the model of a checkpoint file, a run folder or a model folder."""
    if path.is_dir():
        return open_folder(path)
    content = read_checkpoint(path)
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
    missing = [key for key in ("model", "res", "class_names", "preprocess") if key not in about]
    if missing:
        raise CheckpointError(f"{folder / CONFIG} lacks {', '.join(missing)}")
    return Saved(folder, weights, about)


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, in one step."""
    aside = link.with_name(f".{link.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(os.path.relpath(target, link.parent))
    aside.replace(link)


def commit(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file aside, bring it to the disk, and only then give it its name."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as a RuntimeError
        aside.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} can't be written: {str(error).partition(chr(10))[0]}",
            "Is the disk full or read-only? What was saved before is intact; `vit resume` goes on from there.",
        ) from error


def sync(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""The only place that knows how a checkpoint lies on disk: written aside, synced, renamed; tensors and plain values only."""

from __future__ import annotations

import json
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
PARTS = ("model", "ema", "about")
ABOUT = ("model", "res", "class_names", "preprocess")
PLAIN = (str, bytes, int, float, bool, type(None))


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


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Commit `content` to `path`: it is there whole, or not at all.

    Raises TypeError for what `read_checkpoint` would refuse: anything but tensors and plain values.
    """
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    check_plain(whole, "checkpoint")

    def write(aside: Path) -> None:
        with aside.open("wb") as file:  # torch names a full disk only behind a file of Python's
            torch.save(whole, file)

    commit(path, write)


def check_plain(value: Any, where: str) -> None:
    """Raise TypeError if there is anything but tensors and plain values in `value`."""
    if type(value) in (dict, OrderedDict):
        for key, inner in value.items():
            check_plain(key, f"a key of {where}")
            check_plain(inner, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for number, inner in enumerate(value):
            check_plain(inner, f"{where}[{number}]")
    elif not isinstance(value, Tensor) and type(value) not in PLAIN:
        raise TypeError(f"{where} is a {type(value).__name__}, which no checkpoint may hold.")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, and verify its checksums. Nothing in it can run code: only tensors and plain values load."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is damaged or no checkpoint", "A file cut short while it was copied looks like this."
        )
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()  # torch.load does not compare the checksums
        if damaged:
            raise ValueError(f"the checksum of {damaged} is wrong")
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


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, in one step."""
    with beside(link) as aside:
        aside.symlink_to(os.path.relpath(target, link.parent))


def commit(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file aside, bring it to the disk, and only then give it its name."""
    with beside(path) as aside:
        write(aside)
        sync(aside)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Lend a name beside `path`; what the block makes there becomes `path` in one step, or leaves nothing."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with told(path):
        aside.unlink(missing_ok=True)
        try:
            yield aside
            aside.replace(path)
            sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what keeps `path` from being written into a TrainingError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        cause = error.__context__  # torch hides the disk's own words here
        reason = cause if isinstance(cause, OSError) else error
        raise TrainingError(
            f"{path} can't be written: {str(reason).partition(chr(10))[0]}",
            "Is the disk full or read-only? What was saved before is intact; `vit resume` goes on from there.",
        ) from error


def sync(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

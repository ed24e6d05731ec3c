"""What a checkpoint or a model folder holds, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vit_cli.checkpoint.file import digest, read_checkpoint
from vit_cli.checkpoint.model import CONFIG, WEIGHTS, check_parts, folder_of, open_model


def read_whole(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read a checkpoint file or a model folder; give the file with the weights, and the content as in a checkpoint.

    Raises CheckpointError if it can't be read or lacks a part.
    """
    path = folder_of(path)
    if (path / CONFIG).is_file():
        saved = open_model(path)
        version = saved.about["format_version"]
        return path / WEIGHTS, {"format_version": version, "model": saved.weights, "about": saved.about}
    content = read_checkpoint(path)
    check_parts(content, path)
    return path, content


def describe_content(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Gather the facts of what `read_whole` gave; what is not there, or not of the right kind, is None."""
    about = content["about"]
    state = content.get("state")

    def known(key: str, kind: type) -> Any:
        value = state.get(key) if isinstance(state, dict) else None
        return value if isinstance(value, kind) else None

    return {
        "path": str(path),
        "format_version": content["format_version"],
        "vit_version": about.get("vit_version"),
        "task": about.get("task"),
        "step": known("step", int),
        "finished": known("finished", bool),
        "best_score": known("best_score", float),
        "best_step": known("best_step", int),
        "model": about["model"],
        "res": about["res"],
        "classes": len(about["class_names"]),
        "class_names": about["class_names"],
        "parameters": sum(tensor.numel() for tensor in list_tensors(content["model"])),
        "tensors": sum(1 for _ in list_tensors(content)),
        "bytes": path.stat().st_size,
        "digest": digest(content),
    }


def list_tensors(value: Any) -> list[Tensor]:
    """List the tensors anywhere in `value`."""
    if isinstance(value, Tensor):
        return [value]
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for inner in inside for tensor in list_tensors(inner)]

"""Our own names and config in a folder without a recipe, for other programs, and for vit again."""

from __future__ import annotations

from typing import Any

from vit_cli.checkpoint.file import FORMAT_VERSION
from vit_cli.checkpoint.model import CONFIG, Saved
from vit_cli.export.target import Export

KEPT = ("task", "scale", "model", "res", "class_names", "preprocess", "imported", "vit_version")
"""What a model needs; the recipe and the data, with the paths in them, stay at home."""


def to_safetensors(saved: Saved) -> Export:
    """Give a model as it is."""
    about: dict[str, Any] = {key: saved.about[key] for key in KEPT if key in saved.about}
    return Export(saved.weights, {CONFIG: {"format_version": FORMAT_VERSION, **about}}, "vit eval {folder} --data DIR")

"""What an export writes, and how it refuses what the target can't express."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vit_cli.augment.preprocess import Preprocess
from vit_cli.errors import UsageError
from vit_cli.section import Grid, Section

ANY = "--format onnx, pt2 and safetensors take every model."


@dataclass(frozen=True)
class Source:
    """A model to export: its section, weights, resolution, preprocessing, class names and task."""

    section: Section
    weights: Mapping[str, Tensor]
    res: Grid
    preprocess: Preprocess
    class_names: tuple[str, ...]
    task: str = "classification"


@dataclass(frozen=True)
class Export:
    """A folder of another library: `model.safetensors`, its JSON files by name, and how to load it, in one line."""

    weights: Mapping[str, Tensor]
    files: Mapping[str, Mapping[str, Any]]
    loading: str
    notes: Sequence[str] = field(default_factory=tuple)


def refuse(target: str, reasons: Sequence[tuple[bool, str]], near: Sequence[tuple[bool, str, str]] = ()) -> None:
    """Raise UsageError with all the reasons that are true, each a pair of a test and its words.

    Those that are `near` have a change besides, "model.KEY=VALUE", that gives nearly the same model without the reason; the
    error names it if nothing else is in the way.
    """
    told = [reason for is_true, reason in reasons if is_true]
    changes = {change: reason for is_true, reason, change in near if is_true}
    hint = f"If nearly the same model will do, add {' '.join(changes)}" if changes and not told else ANY
    if told or changes:
        raise UsageError(f"{target} can't express this model: {'; '.join([*told, *changes.values()])}", hint)


def unknown(target: str, kinds: str, section: Section) -> UsageError:
    """Make the error for a kind of model that no folder of the target is written for."""
    name = getattr(section, "name", type(section).__name__)
    return UsageError(f"{target} can't express this model: vit exports to it {kinds}, not {name}", ANY)


def as_json_res(res: Grid) -> int | list[int]:
    """Give a resolution as one number for a square, else [rows, columns]."""
    return res.rows if res.rows == res.columns else list(res)

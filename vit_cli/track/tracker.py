"""What a tracker is, and what it is told about the run that it follows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vit_cli.errors import UsageError


class TrackedRun(NamedTuple):
    """A run as trackers know it: `known` is what the tracker called it before, if it goes on with it from `step`.

    `recipe` has every default, as plain values, without secrets.
    """

    name: str
    folder: Path
    recipe: Mapping[str, Any]
    step: int
    known: str | None


class Tracker(Protocol):
    """An open tracker. It may fail in any way, for it is never called on the run's own thread."""

    @property
    def id(self) -> str:
        """What the tracker calls the run."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take finite numbers by the names that they have in steps.jsonl and metrics.csv."""

    def end(self, finished: bool) -> None:
        """Write the rest."""


def bring(extra: str, *modules: str) -> None:
    """Import the first of these modules; UsageError, naming the extra that brings them, if one is not installed.

    A tracker's own thread finds it imported: an import in one thread while another forks can leave the child waiting.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"track.to names {extra}, but {', '.join(missing)} is not installed", f'pip install "vit-cli[{extra}]"'
        )
    import_module(modules[0])


def flatten(plain: Any, key: str = "") -> dict[str, str]:
    """Give the settings of a recipe by dotted key, as text; what is empty or off is left out."""
    if isinstance(plain, Mapping):
        parts = [flatten(value, f"{key}.{name}" if key else str(name)) for name, value in plain.items()]
        return {name: value for part in parts for name, value in part.items()}
    if isinstance(plain, list) and any(isinstance(value, Mapping) for value in plain):
        return flatten({str(number): value for number, value in enumerate(plain)}, key)
    return {} if plain is None or plain == [] else {key: str(plain)}

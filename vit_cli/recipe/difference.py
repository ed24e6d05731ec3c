"""What two recipes differ in, and which of it a run may change when it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from vit_cli.errors import CheckpointError
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.schema import Recipe

MAY_CHANGE = (
    "data.workers",
    "data.cache",
    "data.timeout",
    "data.max_bad",
    "track.*",
    "save.*",
    "eval.batch_size",
    "train.micro_batch",
    "train.graph",
    "train.max_nonfinite",
)
"""Keys that change nothing of what is learned, or only when a run gives up."""
PLACES = (
    *(
        "data.train.root",
        "data.train.path",
        "data.train.split",
        "data.train.file",
        "data.val.root",
        "data.val.path",
        "data.val.split",
        "data.val.file",
    ),
    *("distill.teacher", "distill.teacher.weights"),
)
"""Keys that say where images and the teacher lie. What lies there is compared by itself: the images' fingerprint
(`vit_cli.data.fingerprint`), the teacher's digest."""


ROUNDED = {
    "train.micro_batch": "dropout is drawn and sums are rounded differently",
    "train.graph": "a graph rounds the learning rate to float32",
    "eval.batch_size": "the validation loss is rounded differently",
    "data.cache": "a GPU rounds crops differently, if images are kept there",
}
"""Keys that may change, and what they do change in the last bits."""


class Absent:
    """Stands for the value of a key that one recipe does not have."""

    def __str__(self) -> str:
        return "absent"


ABSENT = Absent()


class Difference(NamedTuple):
    """A key with the value that it had and the one that it has now."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        effect = f" ({ROUNDED[self.key]})" if self.key in ROUNDED else ""
        return f"{show(self.key)}: {show(self.before)} -> {show(self.after)}{effect}"


def may_change(key: str) -> bool:
    """Tell whether a run may go on with another value of this key."""
    return any(fnmatchcase(key, pattern) for pattern in MAY_CHANGE)


def is_place(key: str) -> bool:
    """Tell whether a key says where images or a teacher lie: a run may go on with another value if they are the same."""
    return key in PLACES


def may_resume_with(key: str) -> bool:
    """Tell whether a stopped run may go on with another value of this key, as far as the key alone tells."""
    return may_change(key) or is_place(key)


def compare_recipes(before: Mapping[str, Any], now: Recipe) -> list[Difference]:
    """Give what differs from the recipe that a checkpoint carries.

    Keys that came with a newer vit count as their defaults. A recipe that this vit can't read is compared as it stands.
    """
    with suppress(CheckpointError):
        before = read_section(Recipe, before).model_dump(mode="json")
    return differences(before, now.model_dump(mode="json"))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Give every key at which two plain recipes differ, in their order.

    A section or an item of a list that only one of them has is one difference, at its own key.
    """
    return list(walk("", before, now))


def walk(key: str, before: Any, now: Any) -> Iterator[Difference]:
    """Give the differences at `key` and below it."""
    old, new = parts(key, before), parts(key, now)
    if old is None or new is None or isinstance(before, Mapping) != isinstance(now, Mapping):
        if before != now:
            yield Difference(key, before, now)
        return
    for below in {**old, **new}:
        yield from walk(below, old.get(below, ABSENT), new.get(below, ABSENT))


def parts(key: str, value: Any) -> dict[str, Any] | None:
    """Give what a section or a list of sections holds, by full key; None for a value in its own right."""
    if isinstance(value, Mapping):
        return {f"{key}.{name}" if key else str(name): part for name, part in value.items()}
    if isinstance(value, list | tuple) and all(isinstance(part, Mapping) for part in value):
        return {f"{key}.{number}": part for number, part in enumerate(value)}
    return None


def show(value: Any) -> str:
    """Write a value as it stands in a recipe, on one line and without control characters."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{show(str(name))}: {show(part)}' for name, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    return text if text and text.isprintable() else json.dumps(text)

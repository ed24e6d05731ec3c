"""Say in the user's words, and with the user's keys, what pydantic found wrong with a recipe."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vit_cli.recipe.problems import Key, KeyPath, Problem
from vit_cli.recipe.shape import Kind, describe, kind_at, make_kind, name_of, value_at, walk
from vit_cli.recipe.yaml_reader import plain_value
from vit_cli.section import Section

FEW_KEYS = 12
ALIKE = 0.7
LONGEST = 60


class Found(NamedTuple):
    """One error: at the user's key path, with what may stand there, below the union at `union` (or none)."""

    path: KeyPath
    kind: Kind | None
    union: KeyPath | None
    union_kind: Kind | None
    error: ErrorDetails


def explain(error: ValidationError, root: type[Section], values: dict[str, Any]) -> list[Problem]:
    """Turn the errors of validating `values` as `root` into problems, one for each key."""
    groups: dict[KeyPath, list[Found]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        found = locate(detail, root, values)
        groups[found.path if found.union is None else found.union].append(found)
    return [problem for group in groups.values() for problem in explain_group(group, root, values)]


def explain_group(group: list[Found], root: type[Section], values: dict[str, Any]) -> list[Problem]:
    """Explain the errors of one key; where no choice of a union fits, only those of the choice that came closest."""
    deepest = max(len(found.path) for found in group)
    if group[0].union is None or deepest > len(group[0].union):
        return [explain_one(found, root, values) for found in group if len(found.path) == deepest]
    told = next((found for found in group if found.error["type"] == "value_error"), None)
    if told is not None:
        return [explain_one(told, root, values)]
    return [Problem(group[0].union, unexpected(group[0].union_kind, value_at(values, group[0].union)))]


def locate(error: ErrorDetails, root: type[Section], values: dict[str, Any]) -> Found:
    """Walk along pydantic's location, which also names the choices of unions, and keep the user's keys."""
    kind: Kind | None = make_kind(root)
    path: KeyPath = ()
    union: KeyPath | None = None
    union_kind: Kind | None = None
    rest: list[Key] = list(error["loc"])
    while rest:
        if kind is not None and len(kind.members) > 1:
            label = str(rest.pop(0))
            if label in kind.sections:
                kind = make_kind(kind.sections[label])
                continue
            union, union_kind = path, kind
            kind = next((member for member in kind.members if rest and reaches(member, rest[0])), None)
            continue
        key = rest.pop(0)
        if key == "[key]":
            break
        kind = kind.below(key, value_at(values, path)) if kind is not None else None
        path = (*path, key)
    return Found(path, kind, union, union_kind, error)


def reaches(kind: Kind, key: Key) -> bool:
    """Tell whether a choice of a union can hold something at `key`."""
    return bool(kind.sections) or (
        kind.items is not None and isinstance(key, int) == (get_origin(kind.type) is not dict)
    )


def explain_one(found: Found, root: type[Section], values: dict[str, Any]) -> Problem:
    """Explain one error at one key."""
    path, kind, error = found.path, found.kind, found.error
    match error["type"]:
        case "extra_forbidden":
            return Problem(path, unknown_key(path, root, values))
        case "missing":
            return Problem(path, f"missing; expected {describe(kind)}" if kind is not None else "missing")
        case "value_error" | "assertion_error":
            return Problem(path, str(error["ctx"]["error"]))
        case "union_tag_not_found":
            names = list(kind.sections) if kind is not None else []
            return Problem((*path, "name"), f"missing; {choices(names)}")
        case "union_tag_invalid":
            names = list(kind.sections) if kind is not None else []
            return Problem((*path, "name"), unknown_choice(error["ctx"]["tag"], names))
        case "literal_error" if kind is not None and isinstance(error["input"], str):
            return Problem(path, unknown_choice(error["input"], list(map(str, get_args(kind.members[0].type)))))
    return Problem(path, unexpected(kind, error["input"]))


def unexpected(kind: Kind | None, value: Any) -> str:
    """Say what was expected instead of `value`."""
    expected = describe(kind) if kind is not None else "another value"
    hint = ""
    if isinstance(value, str):
        if not isinstance(plain_value(value), str):
            hint = "; write it without quotes"
        elif "true or false" in expected and value.lower() in ("yes", "no", "on", "off", "y", "n"):
            hint = f"; write {str(value.lower() in ('yes', 'on', 'y')).lower()}"
    return f"expected {expected}, not {show(value)}{hint}"


def show(value: Any) -> str:
    """Write a value as it stands in a recipe, shortened."""
    if isinstance(value, dict):
        return "a section of keys"
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def unknown_choice(value: str, names: list[str]) -> str:
    """Say which choices there are, the nearest first."""
    near = difflib.get_close_matches(value, names, n=1)
    return f"unknown choice {show(value)}; " + (f"did you mean '{near[0]}'? " if near else "") + choices(names)


def choices(names: Iterable[str]) -> str:
    """List what can be chosen."""
    return "choose from " + ", ".join(names)


def unknown_key(path: KeyPath, root: type[Section], values: dict[str, Any]) -> str:
    """Say what an unknown key was perhaps meant to be, or where it belongs."""
    key, section = str(path[-1]), path[:-1]
    kind = kind_at(root, values, section)
    own = kind.section_of(value_at(values, section)) if kind is not None else None
    if kind is None or own is None:
        return "unknown key"
    near = difflib.get_close_matches(key, own.model_fields, n=1, cutoff=ALIKE)
    if near:
        return f"unknown key; did you mean '{near[0]}'?"
    siblings = [name for name, other in kind.sections.items() if key in other.model_fields]
    if siblings:
        return f"unknown key of '{name_of(own)}'; it belongs to {' or '.join(map(repr, siblings))}"
    homes = homes_of(key, root)
    if homes:
        return f"unknown key; it belongs {homes}"
    names = list(own.model_fields)
    return "unknown key" + (f"; the keys here are {', '.join(names)}" if len(names) <= FEW_KEYS else "")


def homes_of(key: str, root: type[Section]) -> str:
    """Say in which sections, those nearest to the top, this very key belongs; nothing if there are none."""
    homes = {path: None for path, section in walk(root) if key in section.model_fields and key != "name"}
    if () in homes:
        return "at the top, outside of sections"
    level = min(map(len, homes), default=0)
    names = [repr(".".join(path)) for path in homes if len(path) == level]
    return f"under {' or '.join(names)}" if names else ""

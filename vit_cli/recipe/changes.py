"""Changes of a recipe from the command line: `optim.lr=3e-4`, applied to what was read, before it is validated."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from vit_cli.errors import UsageError
from vit_cli.recipe.problems import KeyPath, Place, dotted
from vit_cli.recipe.shape import kind_at, step_into, value_at
from vit_cli.recipe.yaml_reader import Tree, YamlError, parse_yaml
from vit_cli.section import Section

COMMAND_LINE = "command line"


class Change(NamedTuple):
    """A new value for a key path; the keys of lists are still text."""

    keys: tuple[str, ...]
    value: Any
    text: str


def read_change(text: str) -> Change:
    """Read `key=value`, the value being YAML; UsageError if it is not of this form."""
    key, equals, written = text.partition("=")
    keys = tuple(key.strip().split("."))
    if not equals or not all(keys):
        raise UsageError(f"{text!r} is not a change of a recipe", "Write key=value, for example optim.lr=3e-4.")
    if not written.strip():
        raise UsageError(f"{text!r} has no value", f"To switch a setting off, write {key}=null.")
    try:
        return Change(keys, parse_yaml(written).value, text)
    except YamlError as error:
        raise UsageError(f"{text!r}: {error.message}", f"Quotes often help: \"{key}='...'\"") from error


def apply_changes(tree: Tree, changes: Iterable[str], root: type[Section]) -> Tree:
    """Give the tree with changes made, in their order; `tree` stays as it is.

    A new `name` in a section that is a choice (`optim.name=sgd`) keeps what the new choice can use. Of keys that exclude
    each other (`train.epochs` and `train.steps`) the one that is changed takes the place of the other.
    Raises UsageError for a change that is malformed or has no place in the tree.
    """
    values, places = copy.deepcopy(tree.values), dict(tree.places)
    for text in changes:
        change = read_change(text)
        path = place_change(values, places, change)
        if path[-1] == "name":
            drop_unfit(values, places, path[:-1], change.value, root)
        if change.value is not None:
            drop_others(values, places, path, root)
        set_value(values, path, copy.deepcopy(change.value))
        for known in [known for known in places if known[: len(path)] == path]:
            del places[known]
        places[path] = COMMAND_LINE
    return replace(tree, values=values, places=places)


def place_change(values: dict[str, Any], places: dict[KeyPath, Place], change: Change) -> KeyPath:
    """Find the path that a change names, with numbers for the items of lists; sections on the way are made."""
    path: KeyPath = ()
    here: Any = values
    for position, key in enumerate(change.keys):
        if isinstance(here, list):
            path = (*path, read_index(key, len(here), path, change.text))
        elif isinstance(here, dict):
            path = (*path, key)
        else:
            raise UsageError(f"{change.text!r}: {dotted(path)} is {here!r}, not a section")
        is_last = position + 1 == len(change.keys)
        if not is_last and step_into(here, path[-1]) is None:
            put(here, path[-1], {})
            places[path] = COMMAND_LINE
        here = step_into(here, path[-1])
    return path


def read_index(key: str, length: int, path: KeyPath, text: str) -> int:
    """Read the number of a list's item, counted from 0; the one after the last adds an item."""
    if not (key.isascii() and key.isdecimal()) or int(key) > length:
        last = f"0 to {length - 1}, or {length} to add one" if length else "0, to add the first"
        raise UsageError(f"{text!r}: {dotted(path)} is a list; its items are numbered {last}")
    return int(key)


def set_value(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Put `value` at `path`."""
    put(value_at(values, path[:-1]), path[-1], value)


def put(here: Any, key: Any, value: Any) -> None:
    """Set one key of a section or one item of a list, perhaps a new one."""
    if isinstance(here, list) and key == len(here):
        here.append(value)
    else:
        here[key] = value


def drop_unfit(
    values: dict[str, Any], places: dict[KeyPath, Place], path: KeyPath, name: Any, root: type[Section]
) -> None:
    """Take out of the section at `path` what only its former choice knows, unless the command line wrote it."""
    section, kind = value_at(values, path), kind_at(root, values, path)
    former = kind.section_of(section) if kind is not None else None
    if kind is None or former is None or not isinstance(name, str) or name not in kind.sections:
        return
    for key in former.model_fields.keys() - kind.sections[name].model_fields.keys():
        if key in section and places.get((*path, key)) != COMMAND_LINE:
            del section[key]


def drop_others(values: dict[str, Any], places: dict[KeyPath, Place], path: KeyPath, root: type[Section]) -> None:
    """Take out of a section the keys that the one at `path` excludes, unless the command line wrote them."""
    section, kind = value_at(values, path[:-1]), kind_at(root, values, path[:-1])
    own = kind.section_of(section) if kind is not None else None
    for group in own.either if own is not None else ():
        for key in group if path[-1] in group else ():
            if key != path[-1] and places.get((*path[:-1], key)) != COMMAND_LINE:
                section.pop(key, None)

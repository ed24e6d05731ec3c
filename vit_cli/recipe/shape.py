"""The shape of a schema: which sections and which kinds of value can stand at a place of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from vit_cli.recipe.problems import Key, KeyPath
from vit_cli.section import Duration, Section

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


@dataclass(frozen=True)
class Kind:
    """What can stand at a place: a type, and the bounds on it."""

    type: Any
    bounds: tuple[Any, ...] = ()

    @property
    def members(self) -> list[Kind]:
        """The choices of a union, without null; any other kind is its only choice."""
        if get_origin(self.type) not in (Union, UnionType):
            return [self]
        choices = [make_kind(choice) for choice in get_args(self.type) if choice is not NoneType]
        return [inner for choice in choices for inner in choice.members]

    @property
    def sections(self) -> dict[str, type[Section]]:
        """The sections that can stand here, by `name`; a section without a name has the empty one."""
        found = (kind.type for kind in self.members)
        return {name_of(kind): kind for kind in found if is_section(kind)}

    @property
    def items(self) -> Kind | None:
        """The kind of a list's items, or of the values of free keys."""
        arguments = get_args(self.type)
        if get_origin(self.type) in (list, tuple):
            return make_kind(arguments[0])
        return make_kind(arguments[1]) if get_origin(self.type) is dict else None

    @property
    def can_be_null(self) -> bool:
        """Whether null may stand here."""
        return get_origin(self.type) in (Union, UnionType) and NoneType in get_args(self.type)

    def below(self, key: Key, value: Any) -> Kind | None:
        """The kind at `key` inside `value`, which stands here; None if no such key is known."""
        section = self.section_of(value)
        if section is not None:
            return field_kind(section, key)
        for member in self.members:
            if member.items is not None and isinstance(key, int) == (get_origin(member.type) is not dict):
                return member.items
        return None

    def section_of(self, value: Any) -> type[Section] | None:
        """The section that `value` is meant to be, by its `name`."""
        sections = self.sections
        name = value.get("name") if isinstance(value, dict) else None
        if isinstance(name, str) and name in sections:
            return sections[name]
        return next(iter(sections.values())) if len(sections) == 1 else None


def make_kind(annotation: Any, bounds: tuple[Any, ...] = ()) -> Kind:
    """Split an annotation into its type and its bounds."""
    while get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        for extra in extras:
            bounds = (*bounds, *(extra.metadata if isinstance(extra, FieldInfo) else (extra,)))
    return Kind(annotation, bounds)


def field_kind(section: type[Section], key: Key) -> Kind | None:
    """The kind of a section's field; None if it has no such field."""
    info = section.model_fields.get(str(key))
    return None if info is None else make_kind(info.annotation, tuple(info.metadata))


def is_section(kind: Any) -> bool:
    """Tell whether a type is a section."""
    return isinstance(kind, type) and issubclass(kind, Section)


def name_of(section: type[Section]) -> str:
    """The `name` by which a union tells its sections apart; a name that is any text is none."""
    info = section.model_fields.get("name")
    return str(get_args(info.annotation)[0]) if info is not None and get_origin(info.annotation) is Literal else ""


def walk(root: type[Section], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Go through every section that a recipe can hold, with its key path (lists have no number in it)."""
    yield at, root
    for key in root.model_fields:
        for kind in inner_kinds(field_kind(root, key)):
            for section in kind.sections.values():
                yield from walk(section, (*at, key))


def walk_keys(root: type[Section], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Go through the paths of all keys that may hold a plain value; a key inside a list, which needs a number, is left out."""
    for key in root.model_fields:
        kind = field_kind(root, key)
        for section in kind.sections.values() if kind is not None else ():
            yield from walk_keys(section, (*at, key))
        if kind is None or not all(is_section(member.type) for member in kind.members):
            yield (*at, key)


def inner_kinds(kind: Kind | None) -> Iterator[Kind]:
    """Give a kind, and those of its items."""
    if kind is not None:
        yield kind
        for member in kind.members:
            yield from inner_kinds(member.items)


def describe(kind: Kind) -> str:
    """Say in plain words what can stand at a place."""
    choices = [describe_member(member) for member in kind.members if not is_section(member.type)]
    names = [name for name in kind.sections if name]
    if kind.sections:
        choices.append(f"a section with a name ({', '.join(names)})" if len(names) > 1 else "a section of keys")
    if kind.can_be_null:
        choices.append("null")
    return ", or ".join(dict.fromkeys(choices))


def describe_member(kind: Kind) -> str:
    """Say in plain words what a kind that is no union and no section asks for."""
    origin, arguments = get_origin(kind.type), get_args(kind.type)
    if origin is Literal:
        return " or ".join(f"'{choice}'" if isinstance(choice, str) else str(choice) for choice in arguments)
    if kind.type is Duration:
        return "a duration such as '10 epochs', '500 steps' or '20%'"
    if origin is dict:
        return f"keys with {describe(make_kind(arguments[1]))} each"
    if origin is tuple and Ellipsis not in arguments:
        inner = dict.fromkeys(describe(make_kind(argument)) for argument in arguments)
        return f"a list of {len(arguments)}, each {' / '.join(inner)}"
    if origin in (list, tuple):
        return "a list"
    return (WORDS.get(kind.type, "another value") + " " + describe_bounds(kind.bounds)).strip()


def describe_bounds(bounds: tuple[Any, ...]) -> str:
    """Say what bounds ask for: "above 0", "from 0 to 1"."""
    found = {
        name: f"{limit:g}" if isinstance(limit := getattr(bound, name), float) else f"{limit:,}"
        for bound in bounds
        for name in ("gt", "ge", "lt", "le")
        if hasattr(bound, name)
    }
    if {"ge", "le"} <= found.keys():
        return f"from {found['ge']} to {found['le']}"
    words = {"gt": "above {}", "ge": "of {} or more", "lt": "below {}", "le": "of at most {}"}
    return " and ".join(words[name].format(limit) for name, limit in found.items())


def kind_at(root: type[Section], values: dict[str, Any], path: KeyPath) -> Kind | None:
    """Find what can stand at `path` of a recipe with these values."""
    kind: Kind | None = make_kind(root)
    for depth, key in enumerate(path):
        kind = kind.below(key, value_at(values, path[:depth])) if kind is not None else None
    return kind


def value_at(values: Any, path: KeyPath) -> Any:
    """Find the value at `path`; None if there is none."""
    for key in path:
        values = step_into(values, key)
    return values


def step_into(values: Any, key: Key) -> Any:
    """Give what `values` holds at `key`; None if it holds nothing there."""
    if isinstance(values, dict):
        return values.get(str(key))
    if isinstance(values, list) and isinstance(key, int) and 0 <= key < len(values):
        return values[key]
    return None

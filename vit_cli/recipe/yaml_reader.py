"""Read YAML 1.2 into plain values and lines, and refuse whatever a recipe has no use for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from vit_cli.errors import RecipeError
from vit_cli.recipe.problems import KeyPath, Place, Problem, refuse

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 20
MAX_ALIASES: Final = 16
MAX_VALUES: Final = 30_000
MAX_DIGITS: Final = 40

# The core schema of YAML 1.2 (section 10.3.2): `no`, `off`, `12:30` and dates are text, `1e-3` is a number.
CONSTANTS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
UNBOUNDED: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class YamlError(Exception):
    """Text that is no YAML, or YAML that a recipe may not hold; `line` counts from 1."""

    def __init__(self, message: str, line: int | None = None, path: KeyPath = ()) -> None:
        super().__init__(message)
        self.message, self.line, self.path = message, line, path


@dataclass(frozen=True)
class Tree:
    """A recipe as written: plain values, and the place of every key path. `name` stands for the recipe in messages."""

    name: str
    values: dict[str, Any]
    places: Mapping[KeyPath, Place] = field(default_factory=dict)
    text: str = ""

    def place(self, path: KeyPath) -> Place | None:
        """Find where `path` was written, or else the section around it."""
        return next((self.places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.places), None)


class Parsed(NamedTuple):
    """Plain values, and the line of every key path in them."""

    value: Any
    lines: dict[KeyPath, int]


def read_tree(path: Path) -> Tree:
    """Read a recipe's file; RecipeError, with lines, if it is too big, no YAML, or holds what a recipe may not."""
    name = show_path(path)
    text = read_text(path, name)
    try:
        value, lines = parse_yaml(text)
    except YamlError as error:
        raise refuse(name, [(error.line, Problem(error.path, error.message))]) from error
    if value is None:
        raise RecipeError(f"{name} is empty", "`vit recipe copy digits` gives you a recipe to start from.")
    if not isinstance(value, dict):
        raise RecipeError(
            f"{name} is not a recipe: it holds {'a list' if isinstance(value, list) else 'one value'}, not keys"
        )
    return Tree(name, value, lines, text)


def show_path(path: Path) -> str:
    """Write a path as seen from the current directory where it lies inside."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def read_text(path: Path, name: str) -> str:
    """Read a file of at most a megabyte of UTF-8; a byte order mark is dropped."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{name} is no recipe: it is larger than 1 MB")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{name} can't be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{name} is no recipe: it is larger than 1 MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise refuse(name, [(line, Problem((), "not UTF-8; save the file with this encoding"))]) from error


def parse_yaml(text: str) -> Parsed:
    """Turn YAML into plain values; YamlError says what was refused, and on which line."""
    try:
        node = Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(in_plain_words(error), mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        raise YamlError("a character that YAML does not allow", text[: error.position].count("\n") + 1) from error
    if node is None:
        return Parsed(None, {})
    converter = Converter()
    return Parsed(converter.convert(node, ()), converter.lines)


def in_plain_words(error: yaml.MarkedYAMLError) -> str:
    """Say what the parser found in words that help."""
    problem = error.problem or "it ends too early"
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "mapping values are not allowed" in problem:
        return "a ':' that does not belong here; put text that holds ': ' in quotes"
    if "expected a single document" in (error.context or ""):
        return "a second document ('---'); a recipe is one"
    return f"not YAML: {problem}"


class Loader(yaml.SafeLoader):
    """A composer of nodes that stops at tags, at too many aliases, at too much depth and at too many values."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.level = self.aliases = self.count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        self.count += 1
        self.aliases += isinstance(event, yaml.AliasEvent)
        self.level += 1
        if getattr(event, "tag", None):
            raise YamlError(f"the tag {event.tag!r}; recipes hold plain values only", line)
        if self.aliases > MAX_ALIASES:
            raise YamlError(f"more than {MAX_ALIASES} aliases ('*')", line)
        if self.count > MAX_VALUES:
            raise YamlError(f"more than {MAX_VALUES} values", line)
        if self.level > MAX_DEPTH and isinstance(event, yaml.CollectionStartEvent):
            raise YamlError(f"nested more than {MAX_DEPTH} deep", line)
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


class Converter:
    """Turns nodes into plain values and notes the line of each; what an alias repeats counts each time."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.count = 0

    def convert(self, node: yaml.Node, path: KeyPath) -> Any:
        """Give the plain value of `node`, which stands at `path`."""
        line = node.start_mark.line + 1
        self.count += 1
        if self.count > MAX_VALUES:
            raise YamlError(f"more than {MAX_VALUES} values, with what aliases repeat", line)
        if isinstance(node, yaml.ScalarNode):
            return convert_scalar(node, path)
        if len(path) >= MAX_DEPTH:
            raise YamlError(f"nested more than {MAX_DEPTH} deep", line)
        if isinstance(node, yaml.SequenceNode):
            return [self.place(item, (*path, number), item) for number, item in enumerate(node.value)]
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = read_key(key_node, path)
            if key in values:
                raise YamlError("the same key twice", key_node.start_mark.line + 1, (*path, key))
            values[key] = self.place(value_node, (*path, key), key_node)
        return values

    def place(self, node: yaml.Node, path: KeyPath, written: yaml.Node) -> Any:
        """Convert `node` and note that it was written where `written` starts."""
        self.lines[path] = written.start_mark.line + 1
        return self.convert(node, path)


def read_key(node: yaml.Node, path: KeyPath) -> str:
    """Give a key as text, whatever it looks like."""
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        raise YamlError("a key must be a word", line, path)
    if node.value == "<<" and node.style is None:
        raise YamlError("merge keys ('<<') are not part of recipes; write the keys out", line, path)
    return check_text(node.value, line, path)


def convert_scalar(node: yaml.ScalarNode, path: KeyPath) -> Any:
    """Give the value of a scalar: text if it is quoted or a block, else what YAML 1.2 sees in it."""
    text, line = node.value, node.start_mark.line + 1
    if node.style is not None:
        return check_text(text, line, path)
    if len(text) > MAX_DIGITS and INTEGER.fullmatch(text):
        raise YamlError(f"a number of {len(text)} digits", line, path)
    value = plain_value(text)
    return check_text(value, line, path) if isinstance(value, str) else value


def check_text(text: str, line: int, path: KeyPath) -> str:
    """Refuse text with halves of characters (surrogates), which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise YamlError("a character that is not Unicode", line, path) from error
    return text


def plain_value(text: str) -> str | int | float | bool | None:
    """Read text without quotes by the core schema of YAML 1.2."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    if UNBOUNDED.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text

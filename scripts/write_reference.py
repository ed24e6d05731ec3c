"""Write docs/reference: every key of a recipe from its schema, every command and option from the command line itself.

    python scripts/write_reference.py

`make check` fails if a page is not what this writes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from enum import Enum
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import typer.main
from pydantic.fields import FieldInfo

from vit_cli.cli.main import app
from vit_cli.recipe.schema import FinetuneRecipe, Recipe
from vit_cli.recipe.shape import Kind, describe_member, field_kind, inner_kinds, is_section, name_of
from vit_cli.section import Duration, Section

FIRST = "seed", "task", "model", "data"
"""What a recipe says before all else."""
PAGES = Path(__file__).parents[1] / "docs/reference"
WRITTEN = "<!-- written by scripts/write_reference.py: do not edit -->"
VALUES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
RECIPE_TEXT = """\
Every key that a recipe can have, with what it may be and what it is if left out. `vit recipe show NAME --resolved` prints a
recipe with every default filled in, `vit recipe check FILE` names all problems of one, `vit recipe schema` prints all of this
as JSON schema. On the command line a key is changed by its dotted name: `vit train digits optim.lr=3e-4`. The commands are in
[commands.md](commands.md).

A duration is a number with a unit: `10 epochs`, `500 steps`, or `20%` of the whole run."""
CLI_TEXT = """\
Every command with its arguments and options, as `vit COMMAND --help` shows them. Results go to stdout; progress, notes and
errors to stderr. `KEY=VALUE` changes a key of the recipe; the keys are in [recipe.md](recipe.md)."""


class Place(NamedTuple):
    """A section of the recipe, with the dotted keys at which it can stand."""

    section: type[Section]
    keys: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its heading: "`optim`: adamw", "`train.phases`"."""
        where, name = " and ".join(f"`{key}`" for key in self.keys), name_of(self.section)
        return f"{where}: {name}" if name else where

    @property
    def top(self) -> str:
        """The key of the whole recipe that it belongs to."""
        return self.keys[0].partition(".")[0]


def list_places(root: type[Section]) -> list[Place]:
    """Give every section below `root`, each once, in the order of the recipe."""
    found: dict[type[Section], dict[str, None]] = {}

    def visit(section: type[Section], at: str) -> None:
        for key in order_keys(section):
            for kind in inner_kinds(field_kind(section, key)):
                for inner in kind.sections.values():
                    found.setdefault(inner, {})[at + key] = None
                    visit(inner, f"{at}{key}.")

    visit(root, "")
    return [Place(section, tuple(keys)) for section, keys in found.items()]


def order_keys(section: type[Section]) -> list[str]:
    """Give a section's keys in its own order, but for those that come first."""
    return sorted(section.model_fields, key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST))


def write_recipe() -> str:
    """Write the page about recipes."""
    places = list_places(Recipe)
    titles = {place.section: place.title for place in places}
    absent = ", ".join(f"`{key}`" for key in Recipe.model_fields if key not in FinetuneRecipe.model_fields)
    parts = ["# Recipe reference", WRITTEN, RECIPE_TEXT, "## The whole recipe", table_of_keys(Recipe, titles)]
    parts.append(
        f"A recipe of `vit finetune` has no {absent}, and need have no `data` and no `finetune.weights`: "
        "they come with the command line and the weights that it names."
    )
    for top, group in groupby(places, key=lambda place: place.top):
        inside = list(group)
        if inside[0].title == f"`{top}`":
            parts += [f"## `{top}`", *tell_section(inside.pop(0), titles)]
        else:
            parts += [f"## `{top}`", list_choices([place for place in inside if place.keys[0] == top])]
        for place in inside:
            parts += [f"### {place.title}", *tell_section(place, titles)]
    return "\n\n".join(parts) + "\n"


def tell_section(place: Place, titles: Mapping[type[Section], str]) -> list[str]:
    """Give what is said of a section, and the table of its keys."""
    return [inspect.cleandoc(place.section.__doc__ or ""), table_of_keys(place.section, titles)]


def list_choices(choices: list[Place]) -> str:
    """Write a table of the choices of one key, with the first sentence about each."""
    rows = [[link(name_of(one.section), one.title), first_sentence(one.section)] for one in choices]
    return make_table(["name", "what"], rows)


def first_sentence(section: type[Section]) -> str:
    """Give the first line that a section says of itself."""
    return inspect.cleandoc(section.__doc__ or "").partition("\n")[0]


def table_of_keys(section: type[Section], titles: Mapping[type[Section], str]) -> str:
    """Write the table of a section's keys."""
    rows = []
    for key in order_keys(section):
        info, kind = section.model_fields[key], field_kind(section, key)
        if key != "name" and kind is not None:
            rows.append([f"`{key}`", show_kind(kind, titles), show_default(info), info.description or tell_sole(kind)])
    return make_table(["key", "may be", "if left out", "what"], rows) if rows else "It has no keys but its name."


def tell_sole(kind: Kind) -> str:
    """Give what a section says of itself, if it is the only one that can stand here."""
    sections = list(kind.sections.values())
    return first_sentence(sections[0]) if len(sections) == 1 else ""


def show_kind(kind: Kind, titles: Mapping[type[Section], str]) -> str:
    """Say what can stand at a key, with links to the sections that can."""
    words = []
    for member in kind.members:
        if is_section(member.type):
            words.append(link(name_of(member.type) or "keys", titles[member.type]))
        elif get_origin(member.type) is Literal:
            words += [f"`{choice}`" for choice in get_args(member.type)]
        elif member.items is not None and Ellipsis in get_args(member.type):
            words.append(f"a list, each {show_kind(member.items, titles)}")
        else:
            words.append(describe_member(member))
    return ", ".join([*dict.fromkeys(words), *(["`null`"] if kind.can_be_null else [])])


def show_default(info: FieldInfo) -> str:
    """Write what a key is if a recipe leaves it out, as it would stand there."""
    if info.is_required():
        return "required"
    value = info.default
    if isinstance(value, Section):
        return name_of(type(value)) or "its defaults"
    return f"`{value}`" if isinstance(value, str | Duration | Path) else f"`{json.dumps(value)}`"


def write_cli() -> str:
    """Write the page about commands."""
    root: Any = typer.main.get_command(app)  # a group of commands
    parts = ["# Command reference", WRITTEN, CLI_TEXT]
    commands = root.commands.values()
    for panel in dict.fromkeys(command.rich_help_panel for command in commands):
        parts.append(f"## {panel}")
        for command in (command for command in commands if command.rich_help_panel == panel):
            inner = getattr(command, "commands", {})
            for name, one in inner.items() or [("", command)]:
                parts += tell_command(f"vit {command.name} {name}".strip(), one)
    return "\n\n".join(parts) + "\n"


def tell_command(title: str, command: Any) -> list[str]:
    """Give a command's heading, what it does, its usage, its options, and an example."""
    hints = get_type_hints(command.callback)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    usage = " ".join([title, *(["[OPTIONS]"] if options else []), *map(show_argument, arguments)])
    parts = [f"### {title}", command.help, f"```\n{usage}\n```"]
    rows = [[f"`{show_argument(one)}`", show_default_of(one), one.help or ""] for one in arguments]
    rows += [[show_option(one, hints[one.name]), show_default_of(one), one.help or ""] for one in options]
    if rows:
        parts.append(make_table(["", "if left out", "what"], rows))
    if command.epilog:
        parts.append(f"```console\n$ {command.epilog.removeprefix('Example: ')}\n```")
    return parts


def show_argument(argument: Any) -> str:
    """Write an argument as usage lines do: MODEL, [RUN]."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def show_option(option: Any, hint: Any) -> str:
    """Write an option with all its names, and the kind of value that follows."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {option.metavar.strip('<>').upper() if option.metavar else show_hint(hint)}"


def show_hint(hint: Any) -> str:
    """Write the kind of value that a type stands for: N, TEXT, onnx|pt2."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(str(choice.value) for choice in hint)
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    return VALUES.get(hint) or next(show_hint(inner) for inner in get_args(hint) if inner is not NoneType)


def show_default_of(parameter: Any) -> str:
    """Write what an option is if left out."""
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, False) or not parameter.show_default else f"`{parameter.default}`"


def link(text: str, title: str) -> str:
    """Link to a heading of the same page by the name that GitHub gives it."""
    slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return f"[{text}](#{slug})"


def make_table(heads: list[str], rows: list[list[str]]) -> str:
    """Write a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def write_pages() -> dict[str, str]:
    """Give the text of every page by its name."""
    return {"recipe.md": write_recipe(), "commands.md": write_cli()}


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for name, text in write_pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")

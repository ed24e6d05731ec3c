"""What typer finds wrong with a command line, in our words: one line on what is wrong, and what to write instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from typer.exceptions import TyperException

from vit_cli.errors import UsageError

HINT = re.compile(r"\. (?=Did you mean|Choose from)")
"""Where a message of typer's ends and its hint begins."""
SHOWN = 3
"""So many keys are named, if more of them have the same last part."""


def explain(error: TyperException, words: Sequence[str]) -> UsageError:
    """Tell an error of typer's parser about the `words` of a command line."""
    problem, *hints = HINT.split(error.format_message().removesuffix("."), maxsplit=1)
    hint = "".join(hints)
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", "")
    if option and problem.startswith("No such option"):
        problem, hint = f"there is no option {option}", name_keys(option, words, context) or name_options(error)
    if context is None:
        return UsageError(lower(problem), hint)
    example = (context.command.epilog or "").removesuffix(".")
    return UsageError(lower(problem), hint or example or f"{context.command_path} -h shows what there is.")


def lower(text: str) -> str:
    """Have a sentence go on after "Error: "."""
    return text[:1].lower() + text[1:]


def name_options(error: TyperException) -> str:
    """Ask for the options that are spelled alike; nothing if there are none."""
    near = getattr(error, "possibilities", None)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def name_keys(option: str, words: Sequence[str], context: Any) -> str:
    """Show how the keys of a recipe that are called like an unknown option are set; nothing if there are none."""
    parameters = () if context is None else context.command.params
    if not {"changes", "tokens"} & {parameter.name for parameter in parameters}:
        return ""
    from vit_cli.recipe.schema import Recipe
    from vit_cli.recipe.shape import walk_keys

    asked = tuple(option.lstrip("-").replace("-", "_").split("."))
    found: dict[str, int] = {}
    for path in walk_keys(Recipe):
        is_name, section = path[-1] == "name", path[:-1]
        if (path[-len(asked) :] == asked and not is_name) or (is_name and section[-len(asked) :] == asked):
            found[".".join(path)] = len(path) - is_name
    nearest = [key for key, depth in found.items() if depth == min(found.values())]
    value = value_of(option, words[count_parents(context) :])
    keys = [shlex.quote(f"{key}={value}") for key in nearest if may_be_set(key, context.command.name)]
    return f"Keys of the recipe have no dashes: write {' or '.join(keys[:SHOWN])}" if keys else ""


def count_parents(context: Any) -> int:
    """Count the verbs before an option: `vit train` has one, `vit recipe show` two."""
    return 0 if context.parent is None else 1 + count_parents(context.parent)


def may_be_set(key: str, verb: str) -> bool:
    """Tell whether a verb takes changes of a key."""
    from vit_cli.recipe.difference import may_resume_with

    match verb:
        case "finetune":
            return key != "finetune.weights"
        case "resume":
            return may_resume_with(key)
        case "export" | "import":
            return key.startswith("model.")
    return True


def value_of(option: str, words: Sequence[str]) -> str:
    """Give what was meant to be the value of an option, or dots where that can't be told from an argument.

    `words` are those after the verb.
    """
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name != option:
            continue
        if equals:
            return value or "..."
        following = "".join(words[number + 1 : number + 2])
        has_argument = any(other[:1] != "-" != before[:1] for before, other in pairwise(["", *words[:number]]))
        is_name = following[:1].isalpha() and not has_argument
        return "..." if following[:1] in ("", "-") or "=" in following or is_name else following
    return "..."

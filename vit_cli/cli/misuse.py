"""What typer finds wrong with a command line, in our words: one line on what is wrong, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.exceptions import TyperException

from vit_cli.errors import UsageError

SHOWN = 3
"""So many keys are named, if more of them have the same last part."""


def explain(error: TyperException, words: Sequence[str]) -> UsageError:
    """Tell an error of typer's parser about the `words` of a command line."""
    problem, _, hint = error.format_message().removesuffix(".").partition(". ")
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
    from vit_cli.recipe.explain import homes_of
    from vit_cli.recipe.schema import FinetuneRecipe, Recipe

    root = FinetuneRecipe if context.command.name == "finetune" else Recipe
    *section, key = option.lstrip("-").replace("-", "_").split(".")
    homes = [home for home in homes_of(key, root) if list(home[-len(section) :]) == section or not section]
    value = value_of(option, words)
    keys = [f"{'.'.join((*home, key))}={value}" for home in homes[:SHOWN]]
    return f"Keys of the recipe have no dashes: write {' or '.join(keys)}" if keys else ""


def value_of(option: str, words: Sequence[str]) -> str:
    """Give what was meant to be the value of an option, or dots."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option:
            value = value if equals else following
            return value if value and not value.startswith("-") else "..."
    return "..."

"""`vit env`: what a run on this machine would run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vit_cli.cli.console import show_json, show_result
from vit_cli.cli.layout import format_facts


def env(json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Show versions, devices and the state of the repository: what to send along with a question."""
    from vit_cli.train.environment import describe_environment

    facts = describe_environment()
    if json:
        show_json(facts)
    else:
        show_result(format_facts(readable(facts)))


def readable(facts: Mapping[str, Any]) -> dict[str, str]:
    """Turn the environment's facts into short texts; packages become facts of their own."""
    git = facts["git"]
    state = f"{git['commit'][:12]}{'' if git['clean'] else ', with changes'}" if git else "-"
    plain = {key: value for key, value in facts.items() if key not in ("packages", "git", "gpus", "cuda")}
    named = {
        **plain,
        "gpus": "\n".join(facts["gpus"]) or "none",
        "cuda": facts["cuda"] or "-",
        "git": state,
        **facts["packages"],
    }
    return {key: str(value) for key, value in named.items()}

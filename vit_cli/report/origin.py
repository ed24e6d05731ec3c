"""Where a run comes from: the recipe it changed, the weights it started from, and what it saw of its images when."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

from vit_cli.errors import VitError
from vit_cli.metrics.names import MAIN, SCORES
from vit_cli.recipe.difference import Difference, differences
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import load_any
from vit_cli.report.record import Record
from vit_cli.section import as_grid

FINETUNING = "finetune"
"""The recipe of `vit finetune` where none is named."""
FROM_WEIGHTS = {"model", "data", "finetune"}


class Changed(NamedTuple):
    """The shipped recipe that a run was started from, and what the run does otherwise."""

    name: str
    differences: Sequence[Difference]


def compare_with_shipped(record: Record) -> Changed | None:
    """Give what the run does otherwise than the shipped recipe that its command names; None if it names none."""
    name = name_recipe(record.command)
    recipe = record.plain_recipe
    with suppress(VitError):
        if name and recipe:
            shipped = load_any(name)
            before = shipped.model_dump(mode="json")
            if "model" not in before:
                before = {key: before[key] for key in shipped.model_fields_set - FROM_WEIGHTS}
            return Changed(name, differences(before, {key: recipe[key] for key in before if key in recipe}))
    return None


def name_recipe(command: str) -> str | None:
    """Find the shipped recipe in a command line."""
    with suppress(ValueError):
        words = shlex.split(command)
        if words[1:2] == ["finetune"]:
            named = [after for word, after in pairwise(words) if word == "--recipe"]
            named += [word.partition("=")[2] for word in words if word.startswith("--recipe=")]
            return next((word for word in named or [FINETUNING] if word in shipped_recipes()), None)
        given = (word for before, word in pairwise(words) if not before.startswith("--"))
        return next((word for word in given if word in shipped_recipes()), None)
    return None


def describe_start(record: Record) -> dict[str, str]:
    """Say which weights a fine-tuning run started from, what was changed to fit them, and what they could do already."""
    tuning = record.plain_recipe.get("finetune")
    if not tuning:
        return {}
    facts = {"weights": str(tuning["weights"])}
    facts |= dict(
        change.split("  ", 1) if "  " in change else (change, "") for change in record.start.get("changes", ())
    )
    main = MAIN[record.task_name]
    scores = {"before the first step": record.start.get("before", {}), "after training": record.best}
    return facts | {when: SCORES[main].say(said[main]) for when, said in scores.items() if said.get(main) is not None}


def list_phases(record: Record) -> list[list[str]]:
    """Give a row for each phase of a run that does not see all of its images all the time: steps, pixels, patches, share."""
    phases: list[dict[str, Any]] = record.plan.get("phases") or []
    if len(phases) < 2 and not any(phase["drop_tokens"] for phase in phases):
        return []
    rows, begin, total = [], 0, record.plan["total_steps"]
    for phase in phases:
        end = phase["until_step"]
        res = as_grid(phase["res"] if isinstance(phase["res"], int) else tuple(phase["res"]))
        kept = f"{1 - phase['drop_tokens']:.0%}"
        rows.append([f"{begin:,} to {end:,}", str(res), kept, f"{(end - begin) / total:.0%}"])
        begin = end
    return rows


def find_borders(record: Record) -> list[float]:
    """Give the epochs at which one phase ends and the next begins."""
    plan = record.plan
    if not plan.get("images"):
        return []
    return [phase["until_step"] * plan["batch_size"] / plan["images"] for phase in plan.get("phases", ())[:-1]]

"""What the model card and the page both say, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from vit_cli.errors import VitError
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.metrics.names import SCORES, WORDS, says_something
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.schema import Recipe
from vit_cli.report.record import Record

TOLD = ("top1", "top5", "map", "r2", "rmse", "mae", "loss", "macro_f1", "micro_f1", "exact_match", "ece")
"""The scores that are told, in order."""
STATES = {
    "running": "This run is going on",
    "crashed": "This run ended without a word: it was killed, or its machine stopped; it was",
    "interrupted": "This run was interrupted",
    "failed": "This run failed",
    "unknown": "This folder does not say how its run stands",
}
SECTIONS = ("model", "data", "augment", "mix", "loss", "optim", "schedule", "train", "eval", "finetune")


def gather_scores(record: Record, evaluation: Evaluation | None) -> dict[str, float]:
    """Give the scores of the best weights: of their own evaluation, else those of the best row of metrics.csv."""
    if evaluation:
        return evaluation.scores
    best = record.best
    return {name: best[column] for name in TOLD if (column := "val_loss" if name == "loss" else name) in best}


def headline(record: Record, evaluation: Evaluation | None) -> dict[str, str]:
    """Give the few numbers that matter, ready to read."""
    scores = gather_scores(record, evaluation)
    labels = {name: SCORES[name].label for name in TOLD} | {"loss": "validation loss"}
    told = [name for name in TOLD if name in scores and says_something(name, len(record.class_names))]
    shown = {labels[name]: SCORES[name].write(scores[name]) for name in told}
    if "images" in scores:
        shown["validation images"] = f"{scores['images']:,.0f}"
    if record.class_names:
        shown[WORDS[record.task_name]] = f"{len(record.class_names):,}"
    if "res" in record.config:
        shown["resolution"] = "{}x{}".format(*record.config["res"])
    if "parameters" in record.summary:
        shown["parameters"] = f"{record.summary['parameters'] / 1e6:.2f} M"
    if "train_seconds" in record.summary:
        shown["training time"] = format_duration(record.summary["train_seconds"])
    if record.speed is not None:
        shown["images per second"] = f"{record.speed:,.0f}"
    return shown


def format_duration(seconds: float) -> str:
    """Write a length of time: 45 s, 12 min 04 s, 1 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole // 60 % 60:02} min"


def format_time(heartbeat: str) -> str:
    """Write a time as people do, with its zone: 2026-11-20 10:15:02 UTC+01:00."""
    try:
        return f"{datetime.fromisoformat(heartbeat):%Y-%m-%d %H:%M:%S %Z}".strip()
    except ValueError:
        return heartbeat


def describe_state(record: Record) -> str:
    """Say in a sentence or two how the run stands and what is damaged; nothing if it is finished and whole."""
    status = record.status
    said = [STATES[record.state] + describe_reach(record)] if record.state in STATES else []
    if record.state == "running" and status.get("eta_seconds"):
        said.append(f"About {format_duration(status['eta_seconds'])} are left")
    if record.state in ("running", "crashed") and status.get("heartbeat"):
        said.append(f"Its last sign of life is of {format_time(status['heartbeat'])}")
    said += [f"{name} is damaged and was left out" for name in record.damaged]
    return "".join(f"{sentence}. " for sentence in said).strip()


def describe_reach(record: Record) -> str:
    """Say how far a run came, by its status or a row that is newer, and why it did not get further."""
    status, total = record.status, record.status.get("total_steps")
    steps = [int(row["step"]) for row in record.rows[-1:]]
    steps += [status["step"]] if status.get("step") is not None else []
    reached = f" at step {max(steps):,} of {total:,}" if steps and total else ""
    return reached + (f": {status['reason']}" if status.get("reason") else "")


def describe_recipe(record: Record) -> dict[str, str]:
    """Give the recipe as a line per section, without what is switched off or as the schema has it by itself."""
    recipe = record.plain_recipe or {"model": record.config.get("model"), "data": record.config.get("data")}
    with suppress(VitError):
        recipe = without_defaults(read_section(Recipe, recipe).model_dump(mode="json", exclude_defaults=True), recipe)
    return {name: in_words(recipe[name]) for name in SECTIONS if recipe.get(name)}


def without_defaults(chosen: Any, all_of_it: Any) -> Any:
    """Give what was chosen, with the name of each section, which may be the one by default."""
    if isinstance(chosen, Mapping):
        named = {"name": all_of_it["name"]} if "name" in all_of_it else {}
        return named | {key: without_defaults(value, all_of_it[key]) for key, value in chosen.items()}
    if isinstance(chosen, list) and isinstance(all_of_it, list):
        return [without_defaults(*pair) for pair in zip(chosen, all_of_it, strict=True)]
    return chosen


def in_words(value: Any) -> str:
    """Write plain values in one line: `adamw, lr 0.001, betas 0.9 to 0.999`."""
    if isinstance(value, Mapping):
        named = [str(value["name"])] if value.get("name") else []
        return ", ".join(
            named + [f"{key} {in_words(held)}" for key, held in value.items() if key != "name" and is_said(held)]
        )
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return "; ".join(map(in_words, value))
    if isinstance(value, list):
        return "[" + ", ".join(map(in_words, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_said(value: Any) -> bool:
    """Tell whether a setting is worth words: not if it is off or empty."""
    return value is not None and value is not False and value not in ([], {})


def describe_plan(record: Record) -> dict[str, str]:
    """Give the plan's plain numbers."""
    return {
        key.replace("_", " "): in_words(value)
        for key, value in record.plan.items()
        if isinstance(value, int | float | str)
    }


def describe_environment(record: Record) -> dict[str, str]:
    """Give versions, devices and the state of the repository."""
    env = record.env
    keys = ("vit", "python", "platform", "processor", "cpus", "threads", "cuda", "seed")
    facts = {key: in_words(env[key]) for key in keys if env.get(key) is not None}
    if env.get("gpus"):
        facts["gpus"] = ", ".join(env["gpus"])
    facts |= env.get("packages") or {}
    if env.get("git"):
        facts["git"] = env["git"]["commit"] + ("" if env["git"]["clean"] else ", with changes that are not committed")
    return facts


def commands(record: Record) -> list[tuple[str, str]]:
    """Give what to do with the run next, from inside its folder: a purpose and a command each."""
    packages = record.env.get("packages") or {}
    pinned = " ".join(f"{name}=={packages[name]}" for name in ("torch", "torchvision") if name in packages)
    processes = record.plan.get("processes", 1)
    again = "vit train resolved.yaml" + (f" --devices {processes}" if processes > 1 else "")
    first = [("The same PyTorch", f"pip install {pinned}")] if pinned else []
    first += [("Train it again, with every setting spelled out", again)] if record.resolved else []
    first += [("Go on with it", "vit resume .")] if record.state in ("crashed", "interrupted", "failed") else []
    use = [
        ("Evaluate it", "vit eval model"),
        ("Use it", "vit predict model photo.jpg"),
        ("Fine-tune it on other images", "vit finetune model --data my_images"),
    ]
    return first + (use if record.config else [])

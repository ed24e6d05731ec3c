"""What the model card and the page both say, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.metrics.names import SCORES, WORDS
from vit_cli.report.record import Record

TOLD = ("top1", "top5", "map", "r2", "rmse", "mae", "loss", "macro_f1", "micro_f1", "exact_match")
"""The scores that are told, in order."""
STATES = {"running": "This run is going on", "interrupted": "This run was interrupted", "failed": "This run failed"}
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
    shown = {labels[name]: SCORES[name].write(scores[name]) for name in TOLD if name in scores}
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
    if record.rows and "images_per_second" in record.rows[-1]:
        shown["images per second"] = f"{record.rows[-1]['images_per_second']:,.0f}"
    return shown


def format_duration(seconds: float) -> str:
    """Write a length of time: 45 s, 12 min 04 s, 1 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole // 60 % 60:02} min"


def describe_state(record: Record) -> str:
    """Say in a sentence how the run stands; nothing if it is finished or unknown."""
    said = STATES.get(record.status.get("status", ""), "")
    if not said:
        return ""
    step, total = record.status.get("step"), record.status.get("total_steps")
    reached = f" at step {step:,} of {total:,}" if step is not None and total else ""
    reason = f": {record.status['reason']}" if record.status.get("reason") else ""
    return f"{said}{reached}{reason}."


def describe_recipe(record: Record) -> dict[str, str]:
    """Give the recipe as a line per section, without what is switched off."""
    recipe = record.config.get("recipe") or {"model": record.config.get("model"), "data": record.config.get("data")}
    return {name: in_words(recipe[name]) for name in SECTIONS if recipe.get(name)}


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
    facts = {
        key: in_words(env[key]) for key in ("vit", "python", "platform", "processor", "cpus", "cuda") if env.get(key)
    }
    if env.get("gpus"):
        facts["gpus"] = ", ".join(env["gpus"])
    facts |= env.get("packages") or {}
    if env.get("git"):
        facts["git"] = env["git"]["commit"] + ("" if env["git"]["clean"] else ", with changes that are not committed")
    return facts


def commands(record: Record) -> list[tuple[str, str]]:
    """Give what to do with the run next, from inside its folder: a purpose and a command each."""
    again = [("Train it again, with every setting spelled out", "vit train resolved.yaml")] if record.resolved else []
    use = [
        ("Evaluate it", "vit eval model"),
        ("Use it", "vit predict model photo.jpg"),
        ("Fine-tune it on other images", "vit finetune model --data my_images"),
    ]
    return again + (use if record.config else [])

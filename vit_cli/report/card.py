"""README.md of a run: a model card as the Hugging Face Hub reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.metrics.names import SCORES, WORDS, says_something
from vit_cli.report.facts import (
    commands,
    describe_environment,
    describe_recipe,
    describe_state,
    gather_scores,
    headline,
)
from vit_cli.report.origin import compare_with_shipped, describe_start
from vit_cli.report.record import Record

FILES = {
    "report.html": "all of this with pictures, on one page",
    "evaluation.json": "how the best weights were judged: scores, each class, confusions",
    "model/": "the best weights (`model.safetensors`) and what belongs to them (`config.json`)",
    "checkpoints/": "full states to go on from: `vit resume`",
    "recipe.yaml": "the recipe as it was given",
    "resolved.yaml": "the recipe with every default filled in; it can be run as it is",
    "plan.json": "what the recipe worked out to",
    "env.json": "versions and devices",
    "metrics.csv": "a row per evaluation",
    "steps.jsonl": "a row per log interval",
    "summary.json": "the final numbers",
    "train.log": "the whole log",
    "bad_images.jsonl": "images that could not be read",
    "track.json": "what the trackers call the run",
    "tensorboard/": "TensorBoard's events: `tensorboard --logdir tensorboard`",
}
PICTURES = {
    "plots/curves.png": "Curves",
    "plots/confusion_matrix.png": "Confusion matrix",
    "plots/reliability.png": "Calibration",
    "plots/scatter.png": "Predicted and true",
    "samples/predictions.png": "Predictions",
    "samples/worst.png": "Worst mistakes",
}
MOST_CLASSES = 100
WHAT = {
    "classification": "An image classifier",
    "multilabel": "A model that finds several labels in an image",
    "regression": "A model that tells numbers from an image",
}
METRICS = {
    "top1": ("accuracy", "top-1 accuracy"),
    "top5": ("accuracy", "top-5 accuracy"),
    "map": ("mean_average_precision", "mAP"),
    "r2": ("r_squared", "R²"),
    "rmse": ("rmse", "RMSE"),
}
"""The Hub's kinds of metrics."""


def write_card(record: Record, evaluation: Evaluation | None) -> str:
    """Write the model card of a run in Markdown, with the Hub's YAML on top."""
    parts = [
        make_header(record, gather_scores(record, evaluation)),
        f"# {clean(record.name)}",
        f"{WHAT[record.task_name]}, trained with `vit` from the recipe below.",
        clean(describe_state(record)),
        section("Results", table(("", ""), headline(record, evaluation))),
        section(
            "Curves and samples",
            "\n\n".join(f"![{text}]({path})" for path, text in PICTURES.items() if is_there(record, path)),
        ),
        section(WORDS[record.task_name].capitalize(), list_targets(evaluation) or list_classes(record.class_names)),
        section("Where it started", table(("", ""), describe_start(record))),
        section("Input", describe_input(record)),
        section("Recipe", table(("section", "setting"), describe_recipe(record)) + list_changes(record)),
        section("How to use and reproduce it", list_commands(record)),
        section("Environment", table(("", ""), describe_environment(record))),
        section(
            "Files",
            table(("file", "holds"), {f"`{name}`": text for name, text in FILES.items() if is_there(record, name)}),
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def make_header(record: Record, scores: Mapping[str, float]) -> str:
    """Give the YAML block that the Hub reads: tags, and metrics as shares of one. The licence is not ours to choose."""
    kind = "image-regression" if record.task_name == "regression" else "image-classification"
    pipeline = ["pipeline_tag: image-classification"] if kind == "image-classification" else []  # the Hub has no other
    lines = ["---", "library_name: vit-cli", *pipeline, "tags:", f"- {kind}", "- vision-transformer"]
    found = [
        (metric, name, scores[key] / 100 if SCORES[key].in_percent else scores[key])
        for key, (metric, name) in METRICS.items()
        if key in scores and says_something(key, len(record.class_names))
    ]
    if found:
        lines += ["metrics:", *(f"- {kind}" for kind in dict.fromkeys(metric for metric, _, _ in found))]
        name = quote(record.name)
        source = quote((record.config.get("data") or {}).get("train", {}).get("name", "images"))
        lines += ["model-index:", f"- name: {name}", "  results:", f"  - task: {{type: {kind}}}"]
        lines += [f"    dataset: {{name: {source}, type: {source}, split: validation}}", "    metrics:"]
        lines += [
            f"    - {{type: {metric}, name: {quote(label)}, value: {value:.6g}}}" for metric, label, value in found
        ]
    return "\n".join([*lines, "---"])


def quote(text: object) -> str:
    """Write a text as a double-quoted YAML scalar; JSON is YAML."""
    return json.dumps(str(text))


def is_there(record: Record, name: str) -> bool:
    """Tell whether the run folder has a file. The page is written after the card."""
    return name == "report.html" or (record.path / name).exists()


def section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def table(head: Sequence[str], rows: Mapping[str, str]) -> str:
    """Lay rows out as a Markdown table; no rows, no table."""
    lines = [" | ".join(head), "--- | ---", *(f"{key} | {clean(value)}" for key, value in rows.items())]
    return "\n".join(f"| {line} |" for line in lines) if rows else ""


def list_classes(names: Sequence[str]) -> str:
    """Name the classes in their order, the first ones of very many."""
    more = f" and {len(names) - MOST_CLASSES:,} more (`model/config.json` has all)" if len(names) > MOST_CLASSES else ""
    return ", ".join(code(name) for name in names[:MOST_CLASSES]) + more


def list_targets(evaluation: Evaluation | None) -> str:
    """Score each target by itself, in its own unit; nothing for classes and labels."""
    rows = [row for row in (evaluation.per_class if evaluation else ()) if "target" in row]
    said = [", ".join(SCORES[name].say(float(row[name])) for name in SCORES if name in row) for row in rows]
    return table(("", ""), {clean(str(row["target"])): scores for row, scores in zip(rows, said, strict=True)})


def describe_input(record: Record) -> str:
    """Say how an image is brought to the model, and what the model learned from."""
    preprocess, res = record.config.get("preprocess"), record.config.get("res")
    if not preprocess or not res:
        return ""
    fit = {"short": "its shorter side resized, the middle cropped", "squash": "squashed to a square"}[
        preprocess["resize"]
    ]
    mean, std = (", ".join(f"{value:.4g}" for value in preprocess[key]) for key in ("mean", "std"))
    seen = f" It was trained on {record.plan['images']:,} images." if record.plan.get("images") else ""
    return (
        f"RGB, {res[0]}x{res[1]} pixels: {fit} ({preprocess['interpolation']}; {100 * preprocess['crop']:.3g} % of it stay); "
        f"from 0 to 1, less {mean}, divided by {std}. `vit` does so by itself.{seen}"
    )


def list_changes(record: Record) -> str:
    """Say what is not as in the shipped recipe that the run was started from."""
    changed = compare_with_shipped(record)
    if changed is None:
        return ""
    lines = [f"- {clean(str(one))}" for one in changed.differences[:MOST_CLASSES]]
    if not lines:
        return f"\n\nAll as in the shipped recipe {code(changed.name)}."
    return "\n".join([f"\n\nNot as in the shipped recipe {code(changed.name)}:\n", *lines])


def list_commands(record: Record) -> str:
    """List what to do from inside the folder, after how the run was started, which was from elsewhere."""
    lines: Iterable[str] = (f"# {purpose}\n{clean_line(command)}" for purpose, command in commands(record))
    body = "\n\n".join(lines)
    begun = f"It was started with\n\n```sh\n{clean_line(record.command)}\n```" if record.command else ""
    use = f"From inside this folder:\n\n```sh\n{body}\n```" if body else ""
    return "\n\n".join(part for part in (begun, use) if part)


def clean(text: str) -> str:
    """Escape what Markdown and HTML would read as their own."""
    line = clean_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in "|*_[]" else char for char in line)


def clean_line(text: str) -> str:
    return " ".join(text.split())


def code(name: str) -> str:
    """Show a name as code, whatever it holds."""
    return f"`{clean_line(name).replace('`', chr(39))}`"

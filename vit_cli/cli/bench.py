"""`vit bench`: how fast a model trains and answers on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import make_progress, show_json, show_result
from vit_cli.cli.layout import format_facts, format_memory, format_rate, format_table

Tokens = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE_OR_CHECKPOINT] [KEY=VALUE]...",
        help="A recipe's name or path, a run, a checkpoint, a model folder or other weights (ViT-Ti/16 at 224 if left out); "
        "then changes to the recipe, e.g. train.batch_size=64 train.precision=bf16.",
        show_default=False,
    ),
]
Seconds = Annotated[
    float,
    typer.Option(
        "--seconds", min=0.0, help="About how long each of four measurements takes.", rich_help_panel=flags.RUNNING
    ),
]


def bench(
    tokens: Tokens = None,
    seconds: Seconds = 10.0,
    devices: flags.Devices = "auto",
    json: flags.Json = False,
    quiet: flags.ResultOnly = False,
    debug: flags.Debug = False,
) -> None:
    """Measure images per second in training and inference, latency, memory and the share of the machine's peak."""
    from vit_cli.cli.launch import launch_processes
    from vit_cli.dist.world import joined
    from vit_cli.train.bench import run_bench
    from vit_cli.train.subject import find_subject

    path, changes = flags.split_tokens(tokens or [], "bench takes one RECIPE_OR_CHECKPOINT")
    subject = find_subject(None if path is None else str(path), changes)
    if launch_processes(devices):
        return
    with joined(devices) as world:
        facts = run_bench(subject, world, seconds, make_progress(quiet or json or not world.is_first, verbose=False))
    if not world.is_first:
        return
    if json:
        show_json(facts)
    else:
        show_result(format_facts(describe(facts)))
        show_result("\n" + format_speeds(facts))


def describe(facts: Mapping[str, Any]) -> dict[str, str]:
    """Put into words what was measured, and what is no speed."""
    rows, columns = facts["res"]
    changed = facts["batch_size"] != facts["recipe_batch_size"]
    whole = f"; train.batch_size={facts['recipe_batch_size']} would be the recipe's" if changed else ""
    inside = [*facts["augment"], *(["mixing"] if facts["mix"] else [])]
    outside = ["augmentation is left to workers"] if facts["augment_elsewhere"] else []
    compiled = facts["training"]["compile_seconds"]
    return {
        "subject": facts["subject"],
        "model": f"{facts['model']}, {facts['parameters'] / 1e6:.2f} M parameters, {rows}x{columns} pixels, "
        f"{facts['tokens']} tokens",
        "cost": f"{facts['flops_per_image'] / 1e9:.3g} GFLOPs an image, "
        f"{facts['training_flops_per_image'] / 1e9:.3g} to train on it",
        "data": facts["data"],
        **({"teacher": facts["teacher"]} if "teacher" in facts else {}),
        "images": "; ".join([", ".join(inside) or "nothing changes them in a step", *outside]),
        "batch": f"{facts['batch_size']} = {facts['processes']} x {facts['process_batch']}, "
        f"{facts['micro_batch']} at once{whole}",
        "device": f"{facts['processes']} x {facts['device']}, {facts['precision']}, "
        f"{facts['matrix_flops_per_second'] / 1e12:.3g} TFLOP/s in a product of matrices",
        "first step": f"{facts['training']['first_step_seconds']:.2f} s"
        + (f", of it {compiled:.1f} s to compile" if compiled is not None else ""),
    }


def format_speeds(facts: Mapping[str, Any]) -> str:
    """Lay the speeds out as a table, and latency under it."""
    rows = []
    for name in ("training", "inference"):
        part = facts[name]
        rates = (format_rate(part[f"images_per_second{end}"]) for end in ("", "_p10", "_p90"))
        ms, share = f"{1000 * part['seconds']:.1f}", f"{100 * part['mfu']:.1f} %"
        rows.append([name, str(part["batch_size"]), *rates, ms, share, format_memory(part["memory_gib"])])
    latency = facts["latency"]
    return (
        format_table(["", "batch", "img/s", "p10", "p90", "ms", "MFU", "memory"], rows)
        + f"\none image: {latency['p50_ms']:.2f} ms (p50), {latency['p95_ms']:.2f} ms (p95)"
    )

"""What `train`, `finetune` and `resume` have in common: run, write the report, say where everything is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_cli.cli.console import make_progress, show_error, show_json, show_note, show_result
from vit_cli.cli.launch import end_at_once, hand_over
from vit_cli.cli.layout import format_memory, format_rate, format_seconds
from vit_cli.errors import VitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vit_cli.recipe.load import Loaded
    from vit_cli.train.course import Outcome
    from vit_cli.train.progress import Progress


def run_and_finish(
    loaded: Loaded,
    *,
    out: Path | None,
    name: str | None,
    overwrite: bool,
    devices: str,
    time: str | None,
    dry_run: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train what was loaded, on as many processes as asked for, and finish the run folder."""
    from vit_cli.cli.launch import launch_processes
    from vit_cli.dist.place import find_place
    from vit_cli.train.course import Options
    from vit_cli.train.start import start_run, try_run
    from vit_cli.train.stop import read_time

    seconds = read_time(time) if time else None
    if launch_processes(devices):
        return
    progress = make_progress(quiet, verbose)
    options = Options(out=out, name=name, overwrite=overwrite, devices=devices, seconds=seconds, end=end_now)
    if dry_run:
        facts = try_run(loaded, options, progress)
        if find_place().rank == 0:
            show_trial(facts, progress, json=json)
        return
    outcome = start_run(loaded, options, progress)
    if outcome is not None:
        finish(outcome, json=json, quiet=quiet)
    elif not quiet and find_place().rank == 0:
        show_result("the run that this job began is finished already")


def show_trial(facts: Mapping[str, Any], progress: Progress, *, json: bool) -> None:
    """Show what a dry run found out: a few lines for people, and all of it for programs."""
    for line in describe_trial(facts):
        progress.note(line)
    if json:
        show_json(facts)


def describe_trial(facts: Mapping[str, Any]) -> list[str]:
    """Put into words what a dry run found out."""
    rates = [format_rate(facts[key]) for key in ("images_per_second", "images_per_second_with_data")]
    peak, state, activations = (format_memory(facts[key]) for key in ("memory_gib", "state_gib", "activation_gib"))
    counts = {"step": facts["plan"]["total_steps"], "evaluation": facts["evaluations"]}
    parts = " and ".join(f"{number:,} {word}" + ("s" if number > 1 else "") for word, number in counts.items())
    return [
        f"step    {facts['step_seconds']:.3g} s, loss {facts['loss']:.4f}, "
        f"{facts['training_flops_per_image'] / 1e9:.3g} GFLOPs an image to train",
        f"speed   {rates[0]} img/s, {rates[1]} with the making of images",
        f"memory  peak {peak}; weights, gradients, moments {state}, activations {activations}",
        f"run     about {format_seconds(facts['estimated_seconds'])}: {parts}",
    ]


def end_now(error: VitError) -> None:
    """Show an error and end this process at once, from any thread and amid anything."""
    try:
        shown, code = hand_over(error)
        if shown:
            show_error(shown)
        end_at_once(code)
    finally:
        os._exit(error.exit_code)  # not even the message could be shown


def finish(outcome: Outcome, *, json: bool, quiet: bool) -> None:
    """Judge the best weights as they were saved, write the report, and say what to do next."""
    run, state = outcome.run, outcome.state
    if not run.world.is_first:
        return
    from vit_cli.report.finish import report_run

    report_run(run)
    if json:
        show_json(run.folder.read_json("summary.json"))
        return
    if quiet:
        return
    minutes, seconds = divmod(round(run.clock.seconds), 60)
    best = run.task.main_score.say(state.best_score)
    show_result(f"best {best} at step {state.best_step}; trained for {minutes}m{seconds:02d}s")
    show_result(f"run folder: {run.folder.path}")
    show_note("next:  vit eval runs/latest   vit predict runs/latest IMAGES   vit finetune --res R")

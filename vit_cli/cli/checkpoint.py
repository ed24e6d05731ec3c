"""`vit checkpoint`: show what a checkpoint holds, and compare two by a digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vit_cli.cli import flags

app = typer.Typer(no_args_is_help=True, help="Show what a checkpoint holds, or give its digest.")

Place = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="A checkpoint, a run folder (its newest one) or a model folder.", show_default=False
    ),
]


@app.command(epilog="Example: vit checkpoint show runs/latest")
def show(path: Place, json: flags.Json = False, debug: flags.Debug = False) -> None:
    """Show what a checkpoint holds: model, classes, how far training was, size."""
    from vit_cli.checkpoint.facts import describe_content, read_whole
    from vit_cli.cli.console import show_json, show_result
    from vit_cli.cli.layout import format_facts

    facts = describe_content(*read_whole(find_checkpoint(path)))
    if json:
        show_json(facts)
    else:
        show_result(format_facts(readable(facts)))


@app.command(epilog="Example: vit checkpoint hash runs/latest")
def hash(path: Place, json: flags.Json = False, debug: flags.Debug = False) -> None:
    """Print one digest, equal for two runs that did the same: weights, averages, optimiser and state, to the bit."""
    from vit_cli.checkpoint.facts import read_whole
    from vit_cli.checkpoint.file import digest
    from vit_cli.cli.console import show_json, show_result

    found, content = read_whole(find_checkpoint(path))
    if json:
        show_json({"path": str(found), "digest": digest(content)})
    else:
        show_result(digest(content))


def find_checkpoint(path: Path) -> Path:
    """Give the newest checkpoint of a run folder that can be read, with a note on newer ones; any other path as it is."""
    from vit_cli.cli.console import show_note
    from vit_cli.train.folder import RunFolder
    from vit_cli.train.keep import read_newest

    folder = RunFolder(path)
    if not folder.checkpoints.is_dir():
        return path
    newest = read_newest(folder, resumes=False)
    if newest is None:
        return folder.last
    for note in newest.notes:
        show_note(f"{note}; this is {newest.path.name}")
    return newest.path


def readable(facts: Mapping[str, Any]) -> dict[str, str]:
    """Turn a checkpoint's facts into short texts; what is not known is left out."""
    from vit_cli.data.samples import listed
    from vit_cli.metrics.names import MAIN, SCORES

    model = {key: value for key, value in facts["model"].items() if value is not None and key != "name"}
    settings = (f"{key} {value}" for key, value in model.items())
    best = facts["best_score"], facts["best_step"]
    main = SCORES[next((main for task, main in MAIN.items() if task == facts["task"]), "top1")]
    shown = {
        "checkpoint": facts["path"],
        "format": f"version {facts['format_version']}, written by vit {facts['vit_version']}",
        "step": None if facts["step"] is None else f"{facts['step']}{', the last' if facts['finished'] else ''}",
        "best": f"{main.say(best[0])} at step {best[1]}" if all(best) else None,
        "model": ", ".join([str(facts["model"].get("name")), *settings]),
        "res": "x".join(map(str, facts["res"])),
        "classes": listed(facts["class_names"], "class", "classes"),
        "weights": f"{facts['parameters'] / 1e6:.2f} M",
        "tensors": facts["tensors"],
        "size": f"{facts['bytes'] / 2**20:.1f} MiB",
        "digest": facts["digest"],
    }
    return {key: str(value) for key, value in shown.items() if value is not None}

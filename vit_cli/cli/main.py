"""`vit`: all verbs, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

import vit_cli
from vit_cli.cli import (
    bench,
    checkpoint,
    data,
    env,
    evaluate,
    export,
    finetune,
    import_weights,
    inspect,
    predict,
    probe,
    recipe,
    report,
    resume,
    runs,
    study,
    train,
)
from vit_cli.cli.console import show_error, show_note, show_result
from vit_cli.cli.launch import end_at_once, hand_over, kill_children, leaving_at_interrupt
from vit_cli.cli.misuse import explain
from vit_cli.errors import UsageError, VitError

TRAIN, USE, RECIPES = "Train", "Use", "Recipes and machine"

app = typer.Typer(
    name="vit",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train Vision Transformers from YAML recipes, fine-tune them at a higher resolution, evaluate and ship them.",
    epilog="Start with: vit train digits",
)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        show_result(f"vit {vit_cli.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options of `vit` itself; its help is the app's."""


app.command("train", rich_help_panel=TRAIN, epilog="Example: vit train digits optim.lr=2e-3")(train.train)
app.command("finetune", rich_help_panel=TRAIN, epilog="Example: vit finetune runs/latest --res 384 --data photos")(
    finetune.finetune
)
app.command("resume", rich_help_panel=TRAIN, epilog="Example: vit resume runs/latest")(resume.resume)
app.command("eval", rich_help_panel=USE, epilog="Example: vit eval runs/latest --per-class")(evaluate.evaluate)
app.command("predict", rich_help_panel=USE, epilog="Example: vit predict runs/latest photos/*.jpg --top 3")(
    predict.predict
)
app.command("inspect", rich_help_panel=USE, epilog="Example: vit inspect runs/latest --only attention --layer 1")(
    inspect.inspect
)
app.command("probe", rich_help_panel=USE, epilog="Example: vit probe runs/latest --data photos --only fewshot,knn")(
    probe.probe
)
app.command("import", rich_help_panel=USE, epilog="Example: vit import vit_base_patch16_224.safetensors --out base")(
    import_weights.import_weights
)
app.command("export", rich_help_panel=USE, epilog="Example: vit export runs/latest --format onnx")(export.export)
app.command("report", rich_help_panel=USE, epilog="Example: vit report runs/latest --out report.html")(report.report)
app.command("bench", rich_help_panel=USE, epilog="Example: vit bench imagenet_vit_s16 train.batch_size=64")(bench.bench)
app.command("study", rich_help_panel=USE, epilog="Example: vit study positions --dry-run")(study.study)
app.add_typer(runs.app, name="run", rich_help_panel=USE)
app.add_typer(checkpoint.app, name="checkpoint", rich_help_panel=USE)
app.add_typer(recipe.app, name="recipe", rich_help_panel=RECIPES)
app.add_typer(data.app, name="data", rich_help_panel=RECIPES)
app.command("env", rich_help_panel=RECIPES, epilog="Example: vit env --json")(env.env)


def main() -> None:
    """Run the command line and leave with the exit code that the README lists."""
    # Threads of torch that wait for each other spin for long by default, and small models come to a crawl when another
    # program uses one of the cores; OpenMP reads this before torch is imported (measured: docs/measured.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost connection is told in the user's words
    try:
        with leaving_at_interrupt():
            run_app()
    except SystemExit as end:
        if os.environ.get("WORLD_SIZE", "1") != "1":
            end_at_once(end.code)
        kill_children()
        raise


def run_app() -> None:
    """Run the command; every way out of it is a SystemExit with its exit code."""
    try:
        sys.exit(app(standalone_mode=False))
    except VitError as error:
        fail(error)
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without its verb; rich shows the help by itself
            if text := error.format_message():
                show_note(text)
            sys.exit(error.exit_code)
        fail(explain(error, sys.argv[1:]))
    except Exception as error:  # noqa: BLE001
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            fail(
                UsageError(f"a path is too long: {str(error.filename)[:60]}...", "File systems allow 255 bytes a name.")
            )
        problem = f"this is a bug in vit: {type(error).__name__}: {error}"
        fail(VitError(problem, "The same command with --debug shows where; please report it."))


def fail(error: VitError) -> NoReturn:
    """Show an error, with the traceback if --debug asked for it, and leave with its exit code."""
    if os.environ.get("VIT_DEBUG"):
        traceback.print_exc()
    shown, code = hand_over(error)
    if shown:
        with suppress(OSError):  # nobody may be there to read it; the exit code tells
            show_error(shown)
    sys.exit(code)

"""`vit train`: from a recipe to a run folder."""

from __future__ import annotations

from vit_cli.cli import flags


def train(
    recipe: flags.Recipe,
    changes: flags.Changes = None,
    out: flags.Out = None,
    name: flags.Name = None,
    overwrite: flags.Overwrite = False,
    devices: flags.Devices = "auto",
    time: flags.Time = None,
    dry_run: flags.DryRun = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    debug: flags.Debug = False,
) -> None:
    """Train a model from a recipe."""
    from vit_cli.cli.finish import run_and_finish
    from vit_cli.recipe.load import load_recipe

    loaded = load_recipe(recipe, changes or ())
    run_and_finish(
        loaded,
        out=out,
        name=name,
        overwrite=overwrite,
        devices=devices,
        time=time,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
        verbose=verbose,
    )

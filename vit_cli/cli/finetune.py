"""`vit finetune`: from trained weights to a new run, often at a higher resolution or on other images."""

from __future__ import annotations

from typing import Annotated

import typer

from vit_cli.cli import flags

RecipeOption = Annotated[str, typer.Option("--recipe", help="A fine-tuning recipe: finetune, finetune_sgd or a path.")]


def finetune(
    tokens: flags.Tokens = None,
    res: flags.Res = None,
    data: flags.Data = None,
    recipe: RecipeOption = "finetune",
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
    """Train on from a model's weights, at another resolution or on other images."""
    from vit_cli.cli.finish import run_and_finish
    from vit_cli.train.finetune import load_finetuning

    source, changes = flags.split_tokens(tokens or [], "finetune takes one FROM")
    loaded = load_finetuning(source, recipe, changes, res=res, data=data)
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

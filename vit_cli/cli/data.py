"""`vit data`: pack images into shards, index the shards of others, check and look at data."""

from __future__ import annotations

import typer

from vit_cli.cli import data_check, data_pack

app = typer.Typer(no_args_is_help=True, help="Pack, import, check and look at images.")

app.command("pack", epilog="Example: vit data pack photos packed --short-side 320")(data_pack.pack)
app.command("import", epilog="Example: vit data import imagenet_tars --classes names.txt")(data_pack.import_tars)
app.command("check", epilog="Example: vit data check photos --strict")(data_check.check)
app.command("preview", epilog="Example: vit data preview digits -o grid.png")(data_check.preview)

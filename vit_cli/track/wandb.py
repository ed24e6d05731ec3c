"""Weights & Biases."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from vit_cli.errors import UsageError
from vit_cli.section import DataPath, Section
from vit_cli.track.tracker import TrackedRun, bring

QUIET = {
    "console": "off",
    "silent": True,
    "save_code": False,
    "disable_git": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
}
"""Nothing but what a run gives: no output, no code, no command line, which may hold secrets."""


class Wandb(Section):
    """Runs at Weights & Biases; offline they stay on this machine until `wandb sync`."""

    name: Literal["wandb"] = "wandb"
    project: str = Field("vit", min_length=1)
    entity: str | None = Field(None, description="user or team; null: the key's own")
    mode: Literal["offline", "online"] = Field(
        "offline", description="online needs a key: wandb login, or WANDB_API_KEY"
    )
    dir: DataPath | None = Field(None, description="where local files go; null: the run folder, in `wandb/`")

    def prepare(self, run: TrackedRun) -> None:
        """Import what is needed. Raises UsageError if it is not installed, or online without a key: nobody is asked for one."""
        if self.mode == "online" and not has_key():
            raise UsageError(
                "track.to: wandb is online and there is no key",
                "wandb login, or WANDB_API_KEY in the environment, gives it one; mode: offline needs none.",
            )
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if self.mode == "offline":
            for kind in ("CACHE", "CONFIG", "DATA"):
                os.environ.setdefault(f"WANDB_{kind}_DIR", str((self.dir or run.folder) / "wandb"))
        bring("wandb", "wandb")

    def open(self, run: TrackedRun) -> WandbRun:
        return WandbRun(self, run)


def has_key() -> bool:
    """Tell whether Weights & Biases would find a key without asking for it."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    with suppress(OSError, netrc.NetrcParseError):
        if netrc.netrc(os.environ.get("NETRC")).authenticators(host):
            return True
    return bool(os.environ.get("WANDB_API_KEY"))


class WandbRun:
    """An open run. Its steps are a metric of their own, since a run that goes on may make some of them again."""

    def __init__(self, section: Wandb, run: TrackedRun) -> None:
        import wandb

        folder = section.dir or run.folder
        folder.mkdir(parents=True, exist_ok=True)
        known = wandb.Settings.model_fields
        self.run = wandb.init(
            project=section.project,
            entity=section.entity,
            name=run.name,
            id=run.known,
            resume="allow",
            mode=section.mode,
            dir=str(folder),
            config=dict(run.recipe),
            settings=wandb.Settings(**{key: value for key, value in QUIET.items() if key in known}),
        )
        self.id: str = self.run.id
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def end(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)

"""A model that has to answer and no more: one of ours, foreign weights, or an exported file that another runtime runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import Saved
from vit_cli.dist.world import World
from vit_cli.errors import UsageError
from vit_cli.evaluate.onnx import ENDING, OnnxModel, open_onnx
from vit_cli.evaluate.saved import Ready, check_resolutions, make_ready, open_saved
from vit_cli.recipe.plain import read_section
from vit_cli.section import Grid, as_grid


@dataclass(frozen=True)
class Runnable:
    """What was saved, and what makes it ready at a resolution; None is its own.

    `check` raises UsageError for resolutions that it does not take, before anything is computed. `ready_at` raises the same,
    and CheckpointError for weights that do not fit.
    """

    saved: Saved
    ready_at: Callable[[int | tuple[int, int] | None], Ready]
    check: Callable[[Sequence[int]], None]


def open_runnable(path: Path, world: World) -> Runnable:
    """Read what is at `path`: a model as `open_saved` does, or a file of `vit export --format onnx`.

    Raises CheckpointError; UsageError if the runtime of an exported file is not installed.
    """
    if path.suffix != ENDING:
        saved = open_saved(path)
        return Runnable(saved, partial(make_ready, saved, world), partial(check_resolutions, saved))
    model, saved = open_onnx(path, world.device)
    return Runnable(saved, partial(make_ready_exported, model, saved), partial(check_exported, saved))


def get_runnable(path: Path, world: World, res: int | tuple[int, int] | None = None) -> Ready:
    """Make what is at `path` ready at once; raises what `open_runnable` and `Runnable.ready_at` do."""
    return open_runnable(path, world).ready_at(res)


def make_ready_exported(model: OnnxModel, saved: Saved, res: int | tuple[int, int] | None) -> Ready:
    """Make an exported file ready; UsageError for another `res` than its own."""
    check_exported(saved, () if res is None else (res,))
    own, images = Grid(*saved.about["res"]), read_section(Preprocess, saved.about["preprocess"])
    return Ready(saved, model.eval(), own, images, "fp32", None, (f"runs in {model.runtime}",))


def check_exported(saved: Saved, resolutions: Sequence[int | tuple[int, int]]) -> None:
    """Raise UsageError for another resolution than the one that a file was exported at."""
    own = Grid(*saved.about["res"])
    for res in resolutions:
        if as_grid(res) != own:
            raise UsageError(
                f"--res {res}: {saved.path} takes images of {own} pixels and no others",
                "Name the checkpoint, or export that at it.",
            )

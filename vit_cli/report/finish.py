"""The end of a run, and later: judge the best weights as they were saved, and write the report."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vit_cli.data.samples import Samples
from vit_cli.dist.world import World, joined
from vit_cli.evaluate.images import open_own_data
from vit_cli.evaluate.saved import Ready, evaluate_saved, get_ready
from vit_cli.report.sheets import see_sample
from vit_cli.report.write import write_report, write_train_batch
from vit_cli.train.folder import RunFolder
from vit_cli.train.wire import Run


def report_run(run: Run) -> None:
    """Write pictures, model card and page of a finished run; called on the first process, after training."""
    alone = World(rank=0, size=1, device=run.world.device)
    batch = run.input.finish(run.input.first_batch())
    write_train_batch(run.folder, batch.images, batch.labels, run.task)
    judge_and_write(run.folder, run.splits.val, get_ready(run.folder.model, alone), alone)


def report_again(folder: RunFolder, evaluates: bool, page: Path | None) -> Path:
    """Write the report of any run from what its folder holds; with `evaluates` judge its best weights on its data before.

    Raises CheckpointError if there are no weights to judge, DataError if the data is not there, UsageError for a `page`
    that can't be written.
    """
    if not evaluates:
        return write_report(folder, page=page)
    with joined("auto") as world:
        ready = get_ready(folder.model, world)
        return judge_and_write(folder, open_own_data(ready.saved), ready, world, page)


def judge_and_write(folder: RunFolder, samples: Samples, ready: Ready, world: World, page: Path | None = None) -> Path:
    """Judge the weights in `model/` on `samples` and write the report."""
    evaluation = evaluate_saved(ready, samples, world)
    return write_report(folder, evaluation, partial(see_sample, ready, samples), page)

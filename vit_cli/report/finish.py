"""The end of a run: judge the best weights as they were saved, and write the report."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vit_cli.data.decode import to_pixels
from vit_cli.dist.world import World
from vit_cli.evaluate.saved import Ready, evaluate_saved, get_ready
from vit_cli.report.write import write_report, write_train_batch
from vit_cli.train.wire import Run


def report_run(run: Run) -> None:
    """Write pictures, model card and page of a finished run; called on the first process, after training."""
    alone = World(rank=0, size=1, device=run.world.device)
    batch = run.input.finish(run.input.first_batch())
    write_train_batch(run.folder, batch.images, batch.labels, run.task)
    ready = get_ready(run.folder.model, alone)
    evaluation = evaluate_saved(ready, run.splits.val, alone)
    write_report(run.folder, evaluation, partial(show_image, run, ready))


def show_image(run: Run, ready: Ready, index: int) -> Tensor:
    """Give validation image `index` as the model sees it: uint8 (3, rows, columns)."""
    with torch.inference_mode():
        return ready.transform(to_pixels(run.splits.val.read(index), ready.max_pixels))

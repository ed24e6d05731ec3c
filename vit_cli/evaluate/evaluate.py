"""One pass over a dataset: sums over all images and processes, one division at the end, every image once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vit_cli.data.batch import Batch
from vit_cli.device import Precision, autocast
from vit_cli.dist.world import World
from vit_cli.metrics.task import Answer, Row, Task
from vit_cli.models.dense import packing

Records = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Numbers of images (n,), and what is kept of the answers to them, with the loss: (n, c + 1)."""


@dataclass(frozen=True)
class Answers:
    """What a model said about each image, in order of `indices`: an `Answer` of the task, and the loss."""

    indices: NDArray[np.int64]
    labels: NDArray[Any]
    predicted: NDArray[Any]
    confidence: NDArray[Any]
    losses: NDArray[np.float32]

    @property
    def answer(self) -> Answer:
        """What is true and what was said."""
        return Answer(self.labels, self.predicted, self.confidence)


@dataclass(frozen=True)
class Evaluation:
    """`scores` has those that the task reports, the loss and the number of images.

    `confusion` is (K, K), rows are true. `per_class` scores every class, label or target, if answers were kept.
    `calibration` has the sums of the bins of confidence (`metrics.calibration.list_bins`), of classification alone.
    """

    scores: dict[str, float]
    confusion: Tensor | None
    answers: Answers | None
    seconds: float
    per_class: tuple[Row, ...] = ()
    calibration: Tensor | None = None


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    prepare: Callable[[Tensor], Tensor],
    task: Task,
    world: World,
    precision: Precision,
    keep_answers: bool = False,
) -> Evaluation:
    """Judge `model` on `batches`; `prepare` turns uint8 images (b, 3, h, w) into what the model takes.

    The numbers are those of all processes together. The answers, if kept, are complete on every process.
    """
    begin = time.monotonic()
    was_training = model.training
    model.eval()
    sheet = task.sheet()
    sums = sheet.start(world.device)
    kept: list[tuple[Tensor, Tensor]] = []
    with packing(model, world.device, precision):
        for batch in batches:
            here = batch.to(world.device)
            with autocast(world.device, precision):
                logits = model(prepare(here.images)).float()
            losses = task.judge(logits, here.labels)
            sheet.add(sums, logits, here.labels, losses)
            if keep_answers or task.needs_answers:
                records = torch.cat([task.record(logits, here.labels), losses[:, None]], dim=1)
                kept.append((batch.indices, records.cpu()))
    model.train(was_training)
    sums = world.sum(sums)
    scores = sheet.finish(sums)
    confusion, calibration = sheet.confusion(sums), sheet.calibration(sums)
    if not (keep_answers or task.needs_answers):
        return Evaluation(scores, confusion, None, time.monotonic() - begin, calibration=calibration)
    indices, table = join_records(world.gather(pack(kept, task.columns + 1)))
    records, losses = table[:, :-1], table[:, -1]
    scores |= task.rank(records)
    answers = Answers(indices, *task.read(records), losses) if keep_answers else None
    per_class = tuple(task.per_class(sheet, sums, records)) if keep_answers else ()
    return Evaluation(scores, confusion, answers, time.monotonic() - begin, per_class, calibration)


def pack(kept: list[tuple[Tensor, Tensor]], columns: int) -> Records:
    """Put the records of one process's batches together; a stop can come before the first of them."""
    indices = [torch.empty(0, dtype=torch.int64), *(part[0] for part in kept)]
    records = [torch.empty(0, columns), *(part[1] for part in kept)]
    return torch.cat(indices).numpy(), torch.cat(records).numpy()


def join_records(parts: Sequence[Records]) -> Records:
    """Put the records of all processes in order of the images."""
    indices, table = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(indices, kind="stable")
    return indices[order], table[order]

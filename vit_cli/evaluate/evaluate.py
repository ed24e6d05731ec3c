"""One pass over a dataset: sums over all images and processes, one division at the end, every image once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vit_cli.data.loader import Batch
from vit_cli.device import Precision, autocast
from vit_cli.dist.world import World
from vit_cli.metrics.score import ScoreSheet


@dataclass(frozen=True)
class Answers:
    """What a model said about each image, in order of `indices`: predicted class, its probability, and the loss."""

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    losses: NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """`scores` has top1 and top5 in per cent, loss (mean cross entropy) and images; `confusion` is (K, K), rows are true."""

    scores: dict[str, float]
    confusion: Tensor | None
    answers: Answers | None
    seconds: float


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    prepare: Callable[[Tensor], Tensor],
    sheet: ScoreSheet,
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
    sums = sheet.start(world.device)
    kept: list[Tensor] = []
    for batch in batches:
        here = batch.to(world.device)
        with autocast(world.device, precision):
            logits = model(prepare(here.images)).float()
        losses = nn.functional.cross_entropy(logits, here.labels, reduction="none")
        sheet.add(sums, logits, here.labels, losses)
        if keep_answers:
            confidence, predicted = logits.softmax(dim=1).max(dim=1)
            columns = (batch.indices, here.labels, predicted, confidence, losses)
            kept.append(torch.stack([column.double().cpu() for column in columns], dim=1))
    model.train(was_training)
    sums = world.sum(sums)
    answers = (
        join_answers(world.gather(torch.cat(kept).numpy() if kept else np.zeros((0, 5)))) if keep_answers else None
    )
    return Evaluation(sheet.finish(sums), sheet.confusion(sums), answers, time.monotonic() - begin)


def join_answers(parts: list[NDArray[np.float64]]) -> Answers:
    """Put the answers of all processes in order of the images."""
    table = np.concatenate(parts)
    table = table[np.argsort(table[:, 0], kind="stable")]
    indices, labels, predicted = (table[:, i].astype(np.int64) for i in range(3))
    return Answers(indices, labels, predicted, table[:, 3].astype(np.float32), table[:, 4].astype(np.float32))

"""The mean loss over batches of different sizes."""

from __future__ import annotations

import math

import pytest
import torch

from vit_cli.metrics.loss import MeanLoss


def test_every_image_counts_once_whatever_its_batch() -> None:
    metric = MeanLoss()
    sums = metric.start(torch.device("cpu"))
    for losses in ([1.0, 2.0, 3.0], [10.0]):
        metric.add(sums, torch.zeros(len(losses), 2), torch.zeros(len(losses)), torch.tensor(losses))
    assert metric.finish(sums) == {"loss": 4.0, "images": 4.0}


def test_a_million_losses_lose_no_digits() -> None:
    metric = MeanLoss()
    sums = metric.start(torch.device("cpu"))
    losses = torch.full((10_000,), 0.1)
    for _ in range(100):
        metric.add(sums, losses, losses, losses)
    assert metric.finish(sums)["loss"] == pytest.approx(losses[0].item(), rel=1e-12)


def test_a_nan_loss_shows() -> None:
    metric = MeanLoss()
    sums = metric.start(torch.device("cpu"))
    losses = torch.tensor([1.0, math.nan])
    metric.add(sums, losses, losses, losses)
    assert math.isnan(metric.finish(sums)["loss"])

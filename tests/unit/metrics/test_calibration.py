"""Calibration against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from vit_cli.metrics.calibration import BINS, Calibration, list_bins

CPU = torch.device("cpu")


def batch(scale: float) -> tuple[Tensor, Tensor]:
    """Logits (500, 6) and labels; the larger the scale, the surer and the worse calibrated."""
    torch.manual_seed(0)
    logits, labels = torch.randn(500, 6), torch.randint(6, (500,))
    logits[torch.arange(500), labels] += 1
    return scale * logits, labels


def sums_of(logits: Tensor, labels: Tensor) -> Tensor:
    metric = Calibration()
    sums = metric.start(CPU)
    metric.add(sums, logits, labels, torch.zeros(len(labels)))
    return sums


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 8.0, 30.0])  # none is sure; float32 rounds some to 1
def test_the_error_equals_torchmetrics(scale: float) -> None:
    logits, labels = batch(scale)
    expected = MulticlassCalibrationError(num_classes=6, n_bins=BINS)(logits.softmax(1), labels)
    assert Calibration().finish(sums_of(logits, labels))["ece"] == pytest.approx(float(expected), abs=1e-6)


def test_sums_of_batches_add_up() -> None:
    logits, labels = batch(2.0)
    metric, sums = Calibration(), Calibration().start(CPU)
    for part, own in zip(logits.split(64), labels.split(64), strict=True):
        metric.add(sums, part, own, torch.zeros(len(own)))
    torch.testing.assert_close(sums, sums_of(logits, labels), rtol=1e-12, atol=0)


def test_images_with_nan_logits_are_left_out() -> None:
    logits, labels = batch(1.0)
    logits[0, 2] = math.nan
    torch.testing.assert_close(sums_of(logits, labels), sums_of(logits[1:], labels[1:]))
    assert math.isnan(Calibration().finish(sums_of(logits[:1], labels[:1]))["ece"])


def test_a_model_that_is_sure_and_right_is_calibrated_and_one_that_is_wrong_is_not() -> None:
    labels = torch.arange(4)
    sure = 1e4 * torch.eye(4)
    assert Calibration().finish(sums_of(sure, labels)) == {"ece": 0.0}
    assert Calibration().finish(sums_of(sure, labels.flip(0))) == {"ece": 1.0}


def test_bins_tell_images_confidence_and_accuracy() -> None:
    logits = torch.tensor([[0.25, 0.75], [0.25, 0.75], [0.45, 0.55], [0.0, 1.0]]).log()
    bins = list_bins(sums_of(logits, torch.tensor([1, 0, 1, 1])))
    assert [(round(b.low * BINS), round(b.high * BINS), b.images) for b in bins] == [
        (8, 9, 1),
        (11, 12, 2),
        (14, 15, 1),
    ]
    assert [b.confidence for b in bins] == pytest.approx([0.55, 0.75, 1.0])
    assert [b.accuracy for b in bins] == [1.0, 0.5, 1.0]

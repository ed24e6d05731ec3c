"""The confusion matrix and the rates of every class against scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from vit_cli.metrics.confusion import Confusion, per_class

NAMES = [f"class {number}" for number in range(6)]


def batch() -> tuple[Tensor, Tensor]:
    """Logits (300, 6) and labels; class 4 has no image, class 5 is never predicted."""
    torch.manual_seed(0)
    logits = torch.randn(300, 6)
    labels = torch.randint(6, (300,))
    labels[labels == 4] = 3
    logits[torch.arange(300), labels] += 1
    logits[:, 5] = -9
    return logits, labels


def matrix_of(logits: Tensor, labels: Tensor) -> Tensor:
    metric = Confusion(6)
    sums = metric.start(torch.device("cpu"))
    metric.add(sums, logits, labels, torch.zeros(len(labels)))
    return sums


def test_the_matrix_equals_scikit_learns() -> None:
    logits, labels = batch()
    expected = confusion_matrix(labels.numpy(), logits.argmax(1).numpy(), labels=range(6))
    assert matrix_of(logits, labels).int().tolist() == expected.tolist()


def test_the_rates_of_every_class_equal_scikit_learns() -> None:
    logits, labels = batch()
    precision, recall, f1, images = precision_recall_fscore_support(
        labels.numpy(), logits.argmax(1).numpy(), labels=range(6), zero_division=0
    )
    found = per_class(matrix_of(logits, labels), NAMES)
    assert [row.name for row in found] == NAMES
    assert [row.images for row in found] == images.tolist()
    assert [row.precision for row in found] == pytest.approx(100 * precision)
    assert [row.recall for row in found] == pytest.approx(100 * recall)
    assert [row.f1 for row in found] == pytest.approx(100 * f1)


def test_the_averages_are_over_the_classes_that_have_images() -> None:
    logits, labels = batch()
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels.numpy(), logits.argmax(1).numpy(), labels=[0, 1, 2, 3, 5], average="macro", zero_division=0
    )
    expected = {"macro_precision": 100 * precision, "macro_recall": 100 * recall, "macro_f1": 100 * f1}
    assert Confusion(6).finish(matrix_of(logits, labels)) == pytest.approx(expected)


def test_images_with_nan_logits_are_left_out() -> None:
    logits, labels = batch()
    logits[0, 2] = math.nan
    assert torch.equal(matrix_of(logits, labels), matrix_of(logits[1:], labels[1:]))


def test_a_model_that_only_says_nan_finds_nothing() -> None:
    rows = per_class(matrix_of(torch.full((9, 6), math.nan), torch.zeros(9, dtype=torch.int64)), NAMES)
    assert {(row.images, row.precision, row.recall, row.f1) for row in rows} == {(0, 0.0, 0.0, 0.0)}

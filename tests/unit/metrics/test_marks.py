"""Several labels at once, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from torch import Tensor

from vit_cli.metrics.marks import Marks, average_precision
from vit_cli.metrics.multilabel import Multilabel

CPU = torch.device("cpu")


def batch(images: int = 101, labels: int = 6) -> tuple[Tensor, Tensor]:
    """Logits, many of them equal, and marks of 0 and 1; the last label is on no image."""
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(images, labels, generator=generator)).round() / 4 + 0.125
    marks = (torch.rand(images, labels, generator=generator) < 0.3).float()
    marks[:, -1] = 0
    return logits, marks


def test_average_precision_is_scikit_learns_with_equal_scores_too() -> None:
    logits, marks = (tensor.numpy() for tensor in batch())
    found = average_precision(logits, marks)
    expected = [average_precision_score(marks[:, k], logits[:, k]) for k in range(5)]
    np.testing.assert_allclose(found[:5], expected, rtol=1e-12)
    assert np.isnan(found[5])


def test_certain_answers_keep_their_order() -> None:
    logits, marks = np.array([[90.0], [91.0], [92.0]], dtype=np.float32), np.array([[0], [0], [1]], dtype=np.float32)
    assert average_precision(logits, marks).tolist() == [1.0]


def test_an_answer_that_is_no_number_ranks_where_it_is_worst() -> None:
    marks = np.array([[1], [0], [1]], dtype=np.float32)
    logits = np.array([[2], [1], [np.nan]], dtype=np.float32)
    assert average_precision(logits, marks).item() == pytest.approx((1 + 2 / 3) / 2)
    logits = np.array([[2], [np.nan], [1]], dtype=np.float32)
    assert average_precision(logits, marks).item() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_f1_and_exact_matches_are_scikit_learns() -> None:
    logits, marks = batch()
    metric = Marks(6)
    sums = metric.start(CPU)
    for part in zip(logits.split(10), marks.split(10), strict=True):
        metric.add(sums, *part, torch.zeros(0))
    scores = metric.finish(sums)
    said, true = (logits > 0).numpy(), marks.numpy() > 0
    assert scores["macro_f1"] == pytest.approx(100 * f1_score(true[:, :5], said[:, :5], average="macro"))
    assert scores["micro_f1"] == pytest.approx(100 * f1_score(true, said, average="micro"))
    assert scores["exact_match"] == pytest.approx(100 * accuracy_score(true, said))


def test_an_image_with_an_answer_that_is_no_number_is_never_right() -> None:
    metric = Marks(2)
    sums = metric.start(CPU)
    metric.add(sums, torch.tensor([[1.0, float("nan")], [1.0, -1.0]]), torch.tensor([[1.0, 0], [1, 0]]), torch.zeros(2))
    assert metric.finish(sums)["exact_match"] == 50


def test_labels_that_no_image_has_count_for_nothing_and_none_at_all_for_zero() -> None:
    logits, marks = batch()
    task = Multilabel([str(number) for number in range(6)])
    whole = task.rank(task.record(logits, marks).numpy())["map"]
    known = task.rank(Multilabel("abcde").record(logits[:, :5], marks[:, :5]).numpy())["map"]
    assert whole == pytest.approx(known)
    assert task.rank(task.record(logits, torch.zeros_like(marks)).numpy()) == {"map": 0.0}
    assert task.rank(np.zeros((0, task.columns), dtype=np.float32)) == {"map": 0.0}

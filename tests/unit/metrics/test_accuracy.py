"""Top-1 and top-5 against scikit-learn, and what ties and NaN count."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor

from vit_cli.metrics.accuracy import Accuracy


def score(logits: Tensor, labels: Tensor) -> dict[str, float]:
    metric = Accuracy()
    sums = metric.start(torch.device("cpu"))
    metric.add(sums, logits, labels, torch.zeros(len(labels)))
    return metric.finish(sums)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accuracy_equals_scikit_learns(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 10, dtype=dtype), torch.randint(10, (200,))
    found = score(logits, labels)
    for name, k in [("top1", 1), ("top5", 5)]:
        expected = 100 * top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k, labels=range(10))
        assert found[name] == pytest.approx(expected)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_up_to_five_classes_are_all_among_the_first_five(classes: int) -> None:
    torch.manual_seed(0)
    assert score(torch.randn(20, classes), torch.randint(classes, (20,)))["top5"] == 100


def test_a_model_that_always_says_the_same_scores_one_classs_share() -> None:
    labels = torch.arange(20).repeat(3)
    assert score(torch.zeros(60, 20), labels) == {"top1": pytest.approx(5.0), "top5": pytest.approx(25.0)}


def test_of_equal_logits_argmax_decides() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randint(3, (200, 8)).float(), torch.randint(8, (200,))
    expected = 100 * (logits.argmax(1) == labels).double().mean().item()
    assert score(logits, labels)["top1"] == pytest.approx(expected)


@pytest.mark.parametrize("classes", [1, 3, 5, 10])
def test_a_model_that_says_nan_is_always_wrong(classes: int) -> None:
    logits, labels = torch.full((10, classes), math.nan), torch.arange(10) % classes
    assert score(logits, labels) == {"top1": 0.0, "top5": 0.0}


def test_a_nan_elsewhere_counts_as_ahead() -> None:
    logits = torch.tensor([[1.0, math.nan, 0.0, 0.0, 0.0, 0.0]])
    assert score(logits, torch.tensor([0])) == {"top1": 0.0, "top5": 100.0}


def test_scores_of_no_image_are_nan() -> None:
    assert all(math.isnan(value) for value in score(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).values())

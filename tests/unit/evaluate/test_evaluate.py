"""Evaluation of whole datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unit.data.pictures import look_with
from vit_cli.data.digits import Digits
from vit_cli.data.loader import EvalBatches
from vit_cli.dist.world import World
from vit_cli.evaluate.evaluate import evaluate, join_records
from vit_cli.metrics.classification import Classification

ALONE = World(0, 1, torch.device("cpu"))
TASK = Classification([str(digit) for digit in range(10)])


class Pixels(nn.Module):
    """A linear model with fixed random weights and a dropout that must be off."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(192, 10, generator=generator))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(images.flatten(1)) @ self.weight


def prepare(images: Tensor) -> Tensor:
    return images.float() / 255


def batches(batch_size: int = 100, rank: int = 0, size: int = 1) -> EvalBatches:
    return EvalBatches(Digits().open(), look_with(lambda image: image), batch_size=batch_size, rank=rank, size=size)


@pytest.mark.parametrize("batch_size", [64, 100, 1797])
def test_scores_are_those_of_all_images_at_once(batch_size: int) -> None:
    model = Pixels()
    found = evaluate(model, batches(batch_size), prepare, TASK, ALONE, "fp32", keep_answers=True)
    samples = Digits().open()
    images = torch.stack([torch.from_numpy(np.array(samples.read(i))) for i in range(len(samples))])
    images = images.unsqueeze(1).expand(-1, 3, -1, -1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    labels = torch.from_numpy(samples.labels)
    with torch.no_grad():
        logits = prepare(images).flatten(1) @ model.weight
    assert found.scores["images"] == 1797
    assert found.scores["top1"] == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    assert found.scores["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)
    assert found.confusion is not None
    assert found.confusion.sum() == 1797
    assert found.answers is not None
    np.testing.assert_array_equal(found.answers.indices, np.arange(1797))
    np.testing.assert_array_equal(found.answers.predicted, logits.argmax(1).numpy())
    np.testing.assert_allclose(found.answers.confidence, logits.softmax(1).amax(1).numpy(), rtol=1e-5)


def test_the_sums_of_three_processes_are_those_of_one() -> None:
    model = Pixels().eval()
    parts = [
        evaluate(model, batches(64, rank, 3), prepare, TASK, ALONE, "fp32", keep_answers=True) for rank in range(3)
    ]
    whole = evaluate(model, batches(64), prepare, TASK, ALONE, "fp32", keep_answers=True)
    assert sum(part.scores["images"] for part in parts) == whole.scores["images"] == 1797
    matrices = [part.confusion for part in parts if part.confusion is not None]
    assert whole.confusion is not None
    torch.testing.assert_close(sum(matrices), whole.confusion, rtol=0, atol=0)


def test_a_model_that_was_training_goes_on_training() -> None:
    model = Pixels().train()
    evaluate(model, batches(), prepare, TASK, ALONE, "fp32")
    assert model.training


def test_answers_of_processes_are_put_in_the_order_of_the_images() -> None:
    one = np.array([0, 2]), np.array([[1, 0.5], [0, 0.6]], dtype=np.float32)
    two = np.array([1]), np.array([[2, 0.7]], dtype=np.float32)
    nothing = np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32)
    indices, table = join_records([one, nothing, two])
    assert indices.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(table, np.array([[1, 0.5], [2, 0.7], [0, 0.6]], dtype=np.float32))

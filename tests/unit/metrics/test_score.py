"""All metrics together: any split of the images gives the same scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vit_cli.metrics.calibration import BINS
from vit_cli.metrics.classification import Classification
from vit_cli.metrics.confusion import CONFUSION_LIMIT
from vit_cli.metrics.score import ScoreSheet

CPU = torch.device("cpu")


def sheet_of(classes: int) -> ScoreSheet:
    return Classification([str(number) for number in range(classes)]).sheet()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    logits, labels = torch.randn(97, 7), torch.randint(7, (97,))
    return logits, labels, F.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("size", [1, 10, 96])
def test_batches_add_up_to_the_whole(size: int) -> None:
    sheet, tensors = sheet_of(7), batch()
    whole, split = sheet.start(CPU), sheet.start(CPU)
    sheet.add(whole, *tensors)
    for part in zip(*(tensor.split(size) for tensor in tensors), strict=True):
        sheet.add(split, *part)
    assert sheet.finish(split) == pytest.approx(sheet.finish(whole), rel=1e-12)


def test_merged_sums_equal_the_whole() -> None:
    sheet, tensors = sheet_of(7), batch()
    whole, first, second = sheet.start(CPU), sheet.start(CPU), sheet.start(CPU)
    sheet.add(whole, *tensors)
    sheet.add(first, *(tensor[0::2] for tensor in tensors))
    sheet.add(second, *(tensor[1::2] for tensor in tensors))
    sheet.merge(first, second)
    torch.testing.assert_close(first, whole, rtol=1e-12, atol=0)


def test_the_scores_agree_with_each_other() -> None:
    sheet, (logits, labels, losses) = sheet_of(7), batch()
    sums = sheet.start(CPU)
    sheet.add(sums, logits, labels, losses)
    scores, matrix = sheet.finish(sums), sheet.confusion(sums)
    assert matrix is not None
    assert scores["images"] == matrix.sum() == 97
    assert scores["top1"] == pytest.approx(100 * matrix.trace().item() / 97)
    assert scores["loss"] == pytest.approx(losses.mean().item())


def test_bf16_logits_and_inference_mode_are_fine() -> None:
    sheet, (logits, labels, losses) = sheet_of(7), batch()
    sums = sheet.start(CPU)
    with torch.inference_mode():
        sheet.add(sums, logits.bfloat16(), labels, losses)
    assert sheet.finish(sums)["images"] == 97


def test_very_many_classes_have_no_confusion_matrix() -> None:
    sheet = sheet_of(CONFUSION_LIMIT + 1)
    sums = sheet.start(CPU)
    assert sums.numel() == 5 + 3 * (BINS + 1)
    assert sheet.confusion(sums) is None

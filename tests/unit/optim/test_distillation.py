"""The teacher's part of the loss against DeiT's own formula, written with torch's kl_div, and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vit_cli.optim.distillation import Distillation, diverge

TAU = 3.0


def answers(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits of a student and of a teacher, each (6, 5)."""
    torch.manual_seed(0)
    return torch.randn(6, 5, dtype=dtype, requires_grad=True), 3 * torch.randn(6, 5, dtype=dtype)


def losses_of(section: Distillation, student: Tensor, teacher: Tensor) -> Tensor:
    losses: Tensor = section.build()(student, teacher)
    return losses


def test_hard_is_cross_entropy_with_the_teachers_best_class() -> None:
    student, teacher = answers()
    expected = F.cross_entropy(student, teacher.argmax(1))
    losses = losses_of(Distillation(kind="hard"), student, teacher)
    assert losses.shape == (6,)
    torch.testing.assert_close(losses.mean(), expected)


def test_soft_is_the_divergence_that_torch_knows() -> None:
    student, teacher = answers()
    log_student, log_teacher = (F.log_softmax(logits / TAU, dim=1) for logits in (student, teacher))
    expected = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * TAU**2
    losses = losses_of(Distillation(kind="soft", tau=TAU), student, teacher)
    assert losses.shape == (6,)
    torch.testing.assert_close(losses.mean(), expected)


def test_legacy_soft_is_that_of_deits_code() -> None:
    student, teacher = answers()
    log_student, log_teacher = (F.log_softmax(logits / TAU, dim=1) for logits in (student, teacher))
    expected = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) * (TAU * TAU) / student.numel()
    losses = losses_of(Distillation(kind="soft", tau=TAU, reduction="legacy_numel"), student, teacher)
    torch.testing.assert_close(losses.mean(), expected)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_student_that_knows_nothing_is_as_far_as_can_be_worked_out(kind: str) -> None:
    """From a teacher that is sure: ln K, of hard and, but for its own doubt, of soft."""
    teacher = 100 * F.one_hot(torch.tensor([0, 3, 4]), 5).float()
    losses = losses_of(Distillation(kind=kind), torch.zeros(3, 5), teacher)
    assert losses.tolist() == pytest.approx([math.log(5)] * 3)


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    _, teacher = answers()
    student = (teacher + 7).requires_grad_()
    losses = losses_of(Distillation(kind="soft", tau=TAU), student, teacher)
    losses.sum().backward()
    torch.testing.assert_close(losses, torch.zeros(6), rtol=0, atol=1e-5)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.zeros(6, 5), rtol=0, atol=1e-5)


def test_a_high_temperature_compares_logits_by_their_squares() -> None:
    """For large tau the gradient tends to (z - mean z - v + mean v) / K (Hinton et al. 2015, equation 4)."""
    student, teacher = answers(torch.float64)
    small, taught = student.detach().float().requires_grad_(), teacher.float()
    diverge(small, taught, tau=300.0).sum().backward()
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    assert small.grad is not None
    torch.testing.assert_close(small.grad.double(), centred.detach() / 5, rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_images_do_not_depend_on_their_batch(kind: str) -> None:
    student, teacher = answers()
    section = Distillation(kind=kind, tau=2.0)
    apart = [losses_of(section, student[i : i + 1], teacher[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(torch.cat(apart), losses_of(section, student, teacher))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_bfloat16_answers_are_compared_in_float32(kind: str) -> None:
    student, teacher = (logits.bfloat16() for logits in answers())
    section = Distillation(kind=kind, tau=2.0)
    losses = losses_of(section, student, teacher)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, losses_of(section, student.float(), teacher.float()))

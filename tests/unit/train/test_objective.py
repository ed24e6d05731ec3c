"""What a step makes smaller, against the sums that DeiT's paper writes down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vit_cli.device import autocast
from vit_cli.models.classifier import Classifier
from vit_cli.models.deit import Deit
from vit_cli.models.vit import Vit
from vit_cli.optim.distillation import Distillation
from vit_cli.optim.losses import SoftmaxLoss
from vit_cli.train.objective import FromLabels, FromTeacher, Objective, build_objective
from vit_cli.train.teacher import Teacher

BF16 = partial(autocast, torch.device("cpu"), "bf16")
LOSS = SoftmaxLoss(label_smoothing=0.1)
HARD = Distillation(kind="hard", alpha=0.3)
SOFT = Distillation(kind="soft", alpha=0.3, tau=2.0)


def shaken(section: Vit, seed: int) -> Classifier:
    """Build a model whose every weight matters."""
    torch.manual_seed(seed)
    model = section.build(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def vit(seed: int = 0) -> Classifier:
    return shaken(Vit(width=16, depth=2, heads=2, patch=4, res=8), seed)


def deit() -> Classifier:
    return shaken(Deit(width=16, depth=2, heads=2, patch=4, res=8), 0)


def teacher() -> Teacher:
    network = vit(seed=1).eval().requires_grad_(False)
    return Teacher("a ViT", "", network, scale=None, shift=None, order=None)


def batch() -> tuple[Tensor, Tensor]:
    """Images (6, 3, 8, 8) and mixed targets (6, 5)."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(6, 3, 8, 8, generator=generator), torch.rand(6, 5, generator=generator).softmax(1)


def build(
    model: Classifier,
    distill: Distillation | None,
    precision: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Objective:
    return build_objective(distill, teacher() if distill else None, model, model, LOSS, precision)


def by_labels(logits: Tensor, targets: Tensor) -> Tensor:
    losses: Tensor = F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
    return losses


def by_teacher(distill: Distillation, logits: Tensor, images: Tensor) -> Tensor:
    """The teacher's part, from torch's own losses."""
    taught = teacher().network(images)
    if distill.kind == "hard":
        return F.cross_entropy(logits, taught.argmax(1), reduction="none")
    log_student, log_teacher = (F.log_softmax(answers / 2, dim=1) for answers in (logits, taught))
    return 4 * F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)


@pytest.mark.parametrize("distill", [HARD, SOFT], ids=["hard", "soft"])
def test_the_class_token_learns_from_labels_and_the_other_from_the_teacher(distill: Distillation) -> None:
    model, (images, targets) = deit(), batch()
    own, distilled = model(images, apart=True)
    expected = 0.7 * by_labels(own, targets) + 0.3 * by_teacher(distill, distilled, images)
    torch.testing.assert_close(build(model, distill)(images, targets), expected)


@pytest.mark.parametrize("distill", [HARD, SOFT], ids=["hard", "soft"])
def test_one_head_learns_from_both(distill: Distillation) -> None:
    model, (images, targets) = vit(), batch()
    logits = model(images)
    expected = 0.7 * by_labels(logits, targets) + 0.3 * by_teacher(distill, logits, images)
    torch.testing.assert_close(build(model, distill)(images, targets), expected)


def test_without_a_teacher_the_labels_are_all_there_is() -> None:
    model, (images, targets) = deit(), batch()
    objective = build(model, None)
    assert isinstance(objective, FromLabels)
    assert objective.facts() == {}
    torch.testing.assert_close(objective(images, targets), by_labels(model(images), targets))


def test_each_head_gets_its_share_of_the_gradient() -> None:
    model, (images, targets) = deit(), batch()
    build(model, HARD)(images, targets).sum().backward()
    own, distilled = (logits.detach().requires_grad_() for logits in model(images, apart=True))
    (0.7 * by_labels(own, targets).sum()).backward()
    (0.3 * by_teacher(HARD, distilled, images).sum()).backward()
    for head, logits in ((model.head, own), (model.head_dist, distilled)):
        assert logits.grad is not None
        torch.testing.assert_close(head.bias.grad, logits.grad.sum(0))


def test_micro_batches_add_up_to_the_batch() -> None:
    model, (images, targets) = deit(), batch()
    objective = build(model, SOFT)
    parts = [objective(images[i : i + 2], targets[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), objective(images, targets))


def test_the_teacher_computes_in_the_precision_of_the_step() -> None:
    model, (images, targets) = deit(), batch()
    objective = build(model, SOFT, BF16)
    assert isinstance(objective, FromTeacher)
    seen = [watch(network) for network in (objective.teacher.network, model)]
    losses = objective(images, targets)
    assert [logits.dtype for outputs in seen for logits in outputs] == [torch.bfloat16] * 2
    assert losses.dtype == torch.float32


def watch(module: nn.Module) -> list[Tensor]:
    """Keep what a module gives from now on."""
    seen: list[Tensor] = []
    module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    return seen

"""What a step makes smaller: a loss for every image, by its label alone or by a teacher's answer too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor, nn

from vit_cli.models.classifier import Classifier
from vit_cli.models.deit import DistilledViT
from vit_cli.models.flops import count_flops
from vit_cli.optim.distillation import Distillation
from vit_cli.section import Grid
from vit_cli.train.teacher import Teacher


@dataclass(frozen=True)
class FromLabels:
    """The loss between what the student says and what is asked for."""

    student: nn.Module
    loss: nn.Module
    autocast: Callable[[], AbstractContextManager[None]]

    def facts(self) -> dict[str, str]:
        """Give nothing to say about a teacher."""
        return {}

    def extra_flops(self, res: Grid) -> int:  # noqa: ARG002
        """Count what an image costs beside the student: nothing."""
        return 0

    def ask(self, images: Tensor) -> Tensor:
        """Images (b, 3, r, c) -> what a step learns from, in the step's precision: logits (b, K)."""
        with self.autocast():
            logits: Tensor = self.student(images)
        return logits

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Images (b, 3, r, c) and class numbers (b,) or shares (b, K) -> losses (b,) in float32."""
        losses: Tensor = self.loss(self.ask(images), targets)
        return losses


@dataclass(frozen=True)
class FromTeacher:
    """(1 - alpha) of the loss by the labels and alpha of the distance to the teacher, which sees the very same images.

    A distillation token learns from the teacher alone, the class token from the labels (DeiT, section 4); the one head
    of any other model learns from both.
    """

    student: nn.Module
    teacher: Teacher
    loss: nn.Module
    distill: Distillation
    distance: nn.Module
    has_token: bool
    autocast: Callable[[], AbstractContextManager[None]]

    def facts(self) -> dict[str, str]:
        """Name the teacher, for the header."""
        return {"teacher": f"{self.teacher.title}; {self.distill}"}

    def extra_flops(self, res: Grid) -> int:
        """Count the operations of the teacher's answer to one image of `res` pixels."""
        network = self.teacher.network
        return network.flops() if isinstance(network, Classifier) else count_flops(network, res)

    def ask(self, images: Tensor) -> Tensor:
        """Images (b, 3, r, c) -> logits (b, K), or (2, b, K): of the class token and of the distillation token."""
        with self.autocast():
            logits: Tensor = self.student(images, apart=True) if self.has_token else self.student(images)
        return logits

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Images (b, 3, r, c) and class numbers (b,) or shares (b, K) -> losses (b,) in float32."""
        with self.autocast():
            taught = self.teacher(images)
        logits = self.ask(images)
        own, distilled = logits if self.has_token else (logits, logits)
        alpha = self.distill.alpha
        losses: Tensor = (1 - alpha) * self.loss(own, targets) + alpha * self.distance(distilled, taught)
        return losses


Objective = FromLabels | FromTeacher


def build_objective(
    distill: Distillation | None,
    teacher: Teacher | None,
    student: nn.Module,
    model: Classifier,
    loss: nn.Module,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Objective:
    """Join a student, which is `model` as all processes train it, with its loss and its teacher, if it has one."""
    if distill is None or teacher is None:
        return FromLabels(student, loss, autocast)
    has_token = isinstance(model, DistilledViT)
    return FromTeacher(student, teacher, loss, distill, distill.build(), has_token, autocast)

"""Learning from a teacher: what the labels ask for, and what another network answered to the same images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from vit_cli.section import Section, Share

Reduction = Literal["batchmean", "legacy_numel"]


class Distillation(Section):
    """How much, and what, a student takes from its teacher (DeiT, section 4; Hinton et al. 2015).

    `batchmean` is the divergence of the books; `legacy_numel` is DeiT's published code, which divides it by the number
    of classes as well: K times weaker.
    """

    kind: Literal["hard", "soft"] = Field("hard", description="the teacher's best class as a label, or all its shares")
    alpha: Share = Field(0.5, description="share of the loss that is the teacher's")
    tau: PositiveFloat = Field(1.0, description="temperature of soft: above 1, lesser classes count for more")
    reduction: Reduction = Field(
        "batchmean", description="of soft; legacy_numel divides by the classes too, as DeiT's code"
    )

    def __str__(self) -> str:
        shown = f"{self.kind}, alpha {self.alpha:g}"
        if self.kind == "hard":
            return shown
        return f"{shown}, tau {self.tau:g}" + (", divided by the classes" if self.reduction == "legacy_numel" else "")

    def build(self) -> DistillationLoss:
        """Make the teacher's part of the loss."""
        return DistillationLoss(self.kind, self.tau, self.reduction)


class DistillationLoss(nn.Module):
    """How far a student is from its teacher, image by image."""

    def __init__(
        self, kind: Literal["hard", "soft"] = "hard", tau: float = 1.0, reduction: Reduction = "batchmean"
    ) -> None:
        super().__init__()
        self.kind, self.tau, self.reduction = kind, tau, reduction

    def forward(self, logits: Tensor, taught: Tensor) -> Tensor:
        """Logits of the student and of the teacher, each (b, K) -> (b,) in float32."""
        if self.kind == "hard":
            return follow(logits, taught)
        losses = diverge(logits, taught, self.tau)
        return losses if self.reduction == "batchmean" else losses / logits.shape[1]


def follow(logits: Tensor, taught: Tensor) -> Tensor:
    """Cross entropy with the teacher's best class for a label, never smoothed; (b, K) twice -> (b,) in float32."""
    losses: Tensor = F.cross_entropy(logits.float(), taught.argmax(dim=1), reduction="none")
    return losses


def diverge(logits: Tensor, taught: Tensor, tau: float) -> Tensor:
    """tau^2 KL(teacher || student), both softened by `tau`; (b, K) twice -> (b,) in float32.

    tau^2 makes up for the gradients, which soften with it squared.
    """
    student, teacher = (F.log_softmax(answers.float() / tau, dim=1) for answers in (logits, taught))
    return (teacher.exp() * (teacher - student)).sum(dim=1) * tau**2

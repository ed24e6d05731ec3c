"""DeiT's distilled Vision Transformer (Touvron et al., 2021, "Training data-efficient image transformers")."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vit_cli.models.heads import start_at
from vit_cli.models.init import initialise
from vit_cli.models.vit import ViT, count_dense
from vit_cli.models.vit_fields import VitFields


class Deit(VitFields):
    """A Vision Transformer with a second token that learns from a teacher (the recipe's `distill`) through a head of its own.

    Asked for one answer, it gives the mean of both heads' logits, which is also what it learns from without a teacher.
    """

    extra_tokens: ClassVar[int] = 1

    name: Literal["deit"] = "deit"
    pool: Literal["cls"] = "cls"

    def build(self, classes: int) -> DistilledViT:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without heads."""
        return DistilledViT(head_dist=self.make_head(classes), **self.parts(classes))


class DistilledViT(ViT):
    """A ViT with a distillation token after the class token, and a head for each.

    The distillation token starts at N(0, 0.02), as in DeiT, not at zero as the class token: they would stay equal where
    neither has a position.
    """

    def __init__(self, head_dist: nn.Module, head_bias: float, **parts: Any) -> None:
        super().__init__(head_bias=head_bias, **parts)
        self.head_names, self.seen = ("head.", "head_dist."), 2
        self.dist = nn.Parameter(torch.zeros(1, 1, self.width))
        self.head_dist = head_dist
        nn.init.trunc_normal_(self.dist, std=0.02)
        initialise(self.head_dist)
        start_at(self.head_dist, head_bias)

    def forward(self, images: Tensor, apart: bool = False) -> Tensor:
        """Images (b, channels, rows, columns), normalised -> logits (b, classes), the mean of both heads'.

        `apart` gives both (2, b, classes): the class token's, then the distillation token's.
        """
        own, distilled = self.both_tokens(images)
        logits = torch.stack([self.head(own), self.head_dist(distilled)])
        return logits if apart else logits.mean(dim=0)

    def features(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> the mean of both tokens (b, d), as timm pools them."""
        return torch.stack(self.both_tokens(images)).mean(dim=0)

    def both_tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (b, channels, rows, columns) -> class token and distillation token, each (b, d), what the heads see."""
        tokens = self.encode(images, self.seen)[:, :2]
        tokens = tokens if self.norm_first else self.norm(tokens)
        return tokens[:, 0], tokens[:, 1]

    def prefix_tokens(self) -> Tensor:
        """Give the class token and the distillation token (1, 2, d)."""
        return torch.cat([self.cls, self.dist], dim=1)

    def flops(self, drop_tokens: float = 0.0) -> int:
        """Count a forward pass of one image: matrix products only, a multiply-add as two."""
        return super().flops(drop_tokens) + 2 * count_dense(self.head_dist)

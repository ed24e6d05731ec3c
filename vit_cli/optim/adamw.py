"""AdamW, the usual optimiser of Vision Transformers."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat

from vit_cli.optim.groups import LayerDecay, MomentumShare, ParamGroup
from vit_cli.section import Section


class AdamW(Section):
    """Adam with weight decay kept apart from the gradient (Loshchilov & Hutter, 2019).

    A step shrinks the weights by lr x weight_decay, so 0.1 at lr 1e-3 is big_vision's `wd = 1e-4`.
    """

    name: Literal["adamw"] = "adamw"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.05, description="on kernels, not on biases, norms and positions")
    layer_decay: LayerDecay = 1.0
    betas: tuple[MomentumShare, MomentumShare] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    def build(self, groups: list[ParamGroup]) -> torch.optim.Optimizer:
        """Make the optimiser, one kernel per group and step; each group brings its own weight decay."""
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)

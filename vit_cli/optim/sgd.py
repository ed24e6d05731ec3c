"""SGD with momentum, the optimiser of the ViT paper's fine-tuning."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from vit_cli.optim.groups import LayerDecay, MomentumShare, ParamGroup
from vit_cli.section import Section


class Sgd(Section):
    """Stochastic gradient descent with momentum; weight decay is added to the gradient (L2), as in torch."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveFloat = Field(0.03, description="peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.0, description="on kernels, not on biases, norms and positions")
    layer_decay: LayerDecay = 1.0
    momentum: MomentumShare = 0.9
    nesterov: bool = False

    @model_validator(mode="after")
    def nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def build(self, groups: list[ParamGroup]) -> torch.optim.Optimizer:
        """Make the optimiser, one kernel per group and step; each group brings its own weight decay."""
        optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=True)
        if self.momentum:  # torch leaves the memory as it found it if the first step of all is skipped (`found_inf`)
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

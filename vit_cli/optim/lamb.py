"""LAMB, Adam whose step is as long as each tensor's weights, for large batches."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from vit_cli.optim.groups import LayerDecay, MomentumShare, ParamGroup
from vit_cli.optim.parts import own
from vit_cli.section import Section


class Lamb(Section):
    """Layer-wise adaptive Adam (You et al., 2020), the optimiser of DeiT III.

    As in the authors' code, apex and timm, parameters without weight decay take a plain Adam step, so `weight_decay: 0`
    turns the whole into Adam. Unlike apex and timm it never clips gradients: `train.clip_norm: 1.0` is what they do.
    """

    name: Literal["lamb"] = "lamb"
    lr: PositiveFloat = Field(3e-3, description="peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.05, description="on kernels, not on biases, norms and positions")
    layer_decay: LayerDecay = 1.0
    betas: tuple[MomentumShare, MomentumShare] = (0.9, 0.999)
    eps: PositiveFloat = 1e-6

    def build(self, groups: list[ParamGroup]) -> torch.optim.Optimizer:
        """Make the optimiser; each group brings its own weight decay."""
        return LambOptimizer(groups, lr=self.lr, betas=self.betas, eps=self.eps)


class LambOptimizer(torch.optim.Optimizer):
    """Algorithm 2 of You et al. with Adam's bias correction and the identity for phi.

        u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * w
        w = w - lr * |w| / |u| * u        (the ratio is 1 where |w| or |u| is 0, and in groups without weight decay)

    `t` counts the updates of a group and is kept with its first parameter. Where the tensor `found_inf` () is 1 nothing
    changes: torch's own protocol for skipping a step without asking the host.
    """

    found_inf: Tensor | None = None

    def __init__(self, groups: list[ParamGroup], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient. A closure is not supported."""
        if closure is not None:
            raise ValueError("LAMB takes no closure.")
        for group in self.param_groups:
            params = [parameter for parameter in group["params"] if parameter.grad is not None]
            if params:
                self._update(params, group)

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        skipped = torch.zeros((), device=params[0].device) if self.found_inf is None else self.found_inf
        steps = self._adam_steps(params, group, skipped)
        if group["weight_decay"]:
            torch._foreach_add_(steps, params, alpha=group["weight_decay"])
            weight_norms = torch.stack(torch._foreach_norm(params))
            step_norms = torch.stack(torch._foreach_norm(steps))
            usable = (weight_norms > 0) & (step_norms > 0)
            torch._foreach_mul_(steps, list(torch.where(usable, weight_norms / step_norms, 1.0).unbind()))
        torch._foreach_mul_(steps, 1 - skipped)
        torch._foreach_add_(params, steps, alpha=-group["lr"])

    def _adam_steps(self, params: list[Tensor], group: dict[str, Any], skipped: Tensor) -> list[Tensor]:
        beta1, beta2 = group["betas"]
        updates = self._count_update(group["params"][0], skipped)
        for parameter in params:
            if "exp_avg" not in self.state[parameter]:
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
                self.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
        means = [self.state[parameter]["exp_avg"] for parameter in params]
        squares = [self.state[parameter]["exp_avg_sq"] for parameter in params]
        grads = [torch.where(skipped > 0, 0.0, parameter.grad) for parameter in params]
        torch._foreach_lerp_(own(means), own(grads), [(1 - beta1) * (1 - skipped)] * len(means))
        torch._foreach_mul_(squares, torch.where(skipped > 0, 1.0, beta2))
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        spreads = torch._foreach_sqrt(squares)
        torch._foreach_div_(spreads, (1 - beta2**updates).sqrt().float())
        torch._foreach_add_(spreads, group["eps"])
        steps = torch._foreach_div(means, spreads)
        torch._foreach_div_(steps, (1 - beta1**updates).float())
        return list(steps)

    def _count_update(self, first: Tensor, skipped: Tensor) -> Tensor:
        """Count an update of the group of `first` unless it is skipped; give the count, at least 1, in float64."""
        state = self.state[first]
        state["updates"] = state.get("updates", torch.zeros((), device=first.device)) + 1 - skipped
        return state["updates"].double().clamp(min=1)

"""Muon, a momentum that moves a matrix as far in every direction, beside AdamW for all that is no such matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.optim.adamw import adamw

from vit_cli.errors import RecipeError
from vit_cli.optim.groups import LayerDecay, MomentumShare, ParamGroup
from vit_cli.section import Section

Scale = Literal["match_rms", "spectral"]
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Of the polynomial that is applied to the singular values, and how often: Jordan et al., 2024."""
EPS = 1e-7
"""The least norm that a matrix is divided by, so that one of zeros stays so."""


class Muon(Section):
    """Momentum made orthogonal for the matrices between hidden features (Jordan et al., 2024), AdamW for the rest.

    The rest are embeddings, positions, tokens, heads, convolutions, biases, norms and scales. With the scale `match_rms` a
    step is as long as one of AdamW, whose learning rate and weight decay carry over (Liu et al., 2025, section 2.2).
    `spectral` is Jordan's own, with rates about 0.02, so what AdamW learns then needs an `adamw_lr`.
    """

    name: Literal["muon"] = "muon"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.05, description="on kernels, not on biases, norms and positions")
    layer_decay: LayerDecay = 1.0
    momentum: MomentumShare = 0.95
    scale: Scale = Field("match_rms", description="factor on the step of a matrix, from its rows and columns")
    adamw_lr: PositiveFloat | None = Field(None, description="peak learning rate of what AdamW learns; null: lr")
    betas: tuple[MomentumShare, MomentumShare] = Field((0.9, 0.999), description="of AdamW")
    eps: PositiveFloat = Field(1e-8, description="of AdamW")

    def build(self, groups: list[ParamGroup]) -> torch.optim.Optimizer:
        """Make the optimiser; each group brings its own weight decay. Raises RecipeError for a model without matrices."""
        if not any(group["matrices"] for group in groups):
            raise RecipeError(
                "optim.name: muon is for the matrices between hidden features, and none of them is trained here",
                "Take adamw, sgd or lamb.",
            )
        if self.adamw_lr is not None:
            share = self.adamw_lr / self.lr
            groups = [
                group if group["matrices"] else {**group, "lr_scale": share * group["lr_scale"]} for group in groups
            ]
        dtype = choose_dtype(groups[0]["params"][0].device)
        return MuonOptimizer(groups, self.lr, self.momentum, self.scale, self.betas, self.eps, dtype)


class MuonOptimizer(torch.optim.Optimizer):
    """For a group with `matrices`, each parameter holding so many of them one above another:

        m = momentum * m + (1 - momentum) * g
        u = orthogonal(momentum * m + (1 - momentum) * g), each matrix by itself          (Nesterov's momentum)
        w = w - lr * weight_decay * w - lr * scale * u

    For the others torch's fused AdamW. Query, key and value kernels share a parameter, but are maps of their own: taken as
    one, what is orthogonal would be their columns put together, and the one with the smallest gradient would hardly move.
    `dtype` is that of the products. Where the tensor `found_inf` () is 1 nothing changes: torch's own protocol for
    skipping a step without asking the host.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        groups: list[ParamGroup],
        lr: float,
        momentum: float,
        scale: Scale,
        betas: tuple[float, float],
        eps: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "matrices": 0})
        self.momentum, self.scale, self.dtype = momentum, scale, dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient. A closure is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure.")
        used = [(group, [p for p in group["params"] if p.grad is not None]) for group in self.param_groups]
        self._step_matrices([(group, params) for group, params in used if params and group["matrices"]])
        for group, params in used:
            if params and not group["matrices"]:
                self._step_adamw(group, params)

    def _step_matrices(self, used: list[tuple[dict[str, Any], list[Tensor]]]) -> None:
        turned = [self._turn(params) for _, params in used]
        apart = [
            part
            for (group, _), steps in zip(used, turned, strict=True)
            for step in steps
            for part in step.chunk(group["matrices"])
        ]
        orthogonalise_all(apart, self.dtype)
        for (group, params), steps in zip(used, turned, strict=True):
            kept = 1 - self._skipped(params[0])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"] * kept)
            factors = [group["lr"] * scale_of(step, group["matrices"], self.scale) for step in steps]
            torch._foreach_mul_(steps, factors)
            torch._foreach_mul_(steps, kept)
            torch._foreach_sub_(params, steps)

    def _turn(self, params: list[Tensor]) -> list[Tensor]:
        """Take the gradients into the momentum; give where it points, as new tensors."""
        skipped = self._skipped(params[0])
        for parameter in params:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        means = [self.state[parameter]["momentum"] for parameter in params]
        grads = [torch.where(skipped > 0, 0.0, parameter.grad) for parameter in params]
        torch._foreach_lerp_(means, grads, [(1 - self.momentum) * (1 - skipped)] * len(means))
        return list(torch._foreach_lerp(grads, means, self.momentum))

    def _step_adamw(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for parameter in params:
            state = self.state[parameter]
            if "exp_avg" not in state:
                state["updates"] = torch.zeros((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in params]
        adamw(
            params,
            [parameter.grad for parameter in params],
            *([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq")),
            [],
            [state["updates"] for state in states],
            fused=True,
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _skipped(self, like: Tensor) -> Tensor:
        return torch.zeros((), device=like.device) if self.found_inf is None else self.found_inf


def scale_of(parameter: Tensor, matrices: int, scale: Scale) -> float:
    """Give the factor on the step of a parameter (matrices * rows, columns).

    An orthogonal (rows, columns) has a root mean square of 1 / sqrt(max(rows, columns)); AdamW's steps have about 0.2.
    """
    rows, columns = len(parameter) // matrices, parameter.shape[1]
    factor: float = 0.2 * max(rows, columns) ** 0.5 if scale == "match_rms" else max(1.0, rows / columns) ** 0.5
    return factor


def choose_dtype(device: torch.device) -> torch.dtype:
    """Give bfloat16, precise enough here (Jordan et al.), where a device is good at it; a CPU multiplies stacks of it slowly."""
    is_good = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if is_good else torch.float32


def orthogonalise_all(matrices: Iterable[Tensor], dtype: torch.dtype) -> None:
    """Make matrices orthogonal in place, all of one shape, lying or standing, in the same products."""
    shapes: dict[torch.Size, list[Tensor]] = {}
    for matrix in matrices:
        lying = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        shapes.setdefault(lying.shape, []).append(lying)
    for alike in shapes.values():
        torch._foreach_copy_(alike, list(orthogonalise(torch.stack(alike), dtype).unbind()))


def orthogonalise(stack: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring the singular values of every matrix of (n, rows, columns), rows <= columns, to between 0.68 and 1.21.

    The Newton-Schulz iteration of Jordan et al. (2024): X = a X + (b A + c A^2) X with A = X X^T, computed in `dtype`. Singular
    values of less than 0.002 of the norm stay smaller.
    """
    a, b, c = COEFFICIENTS
    x = (stack / torch.linalg.matrix_norm(stack, keepdim=True).clamp(min=EPS)).to(dtype)
    for _ in range(ITERATIONS):
        squared = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(squared, squared, squared, beta=b, alpha=c), x, beta=a)
    return x

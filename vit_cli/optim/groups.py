"""Which parameters share a weight decay and a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, TypedDict

import torch
from pydantic import Field
from torch import Tensor

LayerDecay = Annotated[
    float, Field(gt=0, le=1, description="factor on the learning rate for every layer further from the head")
]
MomentumShare = Annotated[float, Field(ge=0, lt=1)]


class ParamGroup(TypedDict):
    """Parameters that are updated alike, as torch's optimisers take them; `lr_scale` is for `set_lr`, `matrices` for Muon."""

    params: list[Tensor]
    weight_decay: float
    lr_scale: float
    matrices: int
    name: str


def no_matrices(name: str, parameter: Tensor) -> int:  # noqa: ARG001
    """Count none, for optimisers that treat all parameters alike."""
    return 0


def make_groups(
    named_parameters: Iterable[tuple[str, Tensor]],
    *,
    weight_decay: float,
    layer_decay: float,
    decays: Callable[[str, Tensor], bool],
    layer_of: Callable[[str], int],
    layers: int,
    matrices: Callable[[str, Tensor], int] = no_matrices,
) -> list[ParamGroup]:
    """Sort the trainable parameters into as few groups as possible, each into exactly one.

    A parameter of layer l learns at layer_decay ** (layers - l) times the learning rate, so layer `layers`, the head,
    at the full one (Clark et al. 2020, ELECTRA; numbered as in BEiT). The weight decay goes only to the parameters
    that `decays` names. Those that hold another number of `matrices` stand apart. Raises ValueError if `layer_of`
    leaves 0..`layers`.
    """
    groups: dict[tuple[float, float, int], ParamGroup] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        layer = layer_of(name)
        if not 0 <= layer <= layers:
            raise ValueError(f"{name} is said to be in layer {layer}, outside 0 to {layers}.")
        decay = weight_decay if decays(name, parameter) else 0.0
        scale = layer_decay ** (layers - layer)
        count = matrices(name, parameter)
        label = f"weight_decay {decay:g}, lr x {scale:.4g}" + (f", matrices {count}" if count else "")
        group = ParamGroup(params=[], weight_decay=decay, lr_scale=scale, matrices=count, name=label)
        groups.setdefault((decay, scale, count), group)["params"].append(parameter)
    return list(groups.values())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]

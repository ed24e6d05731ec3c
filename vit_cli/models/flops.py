"""The operations of convolutions and dense layers, counted on a pass that computes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vit_cli.section import Grid


def count_flops(network: nn.Module, res: Grid) -> int:
    """Count the operations of one image of `res` pixels in convolutions and dense layers, a multiply-add as two."""
    return sum(count_each(network, res))


def count_each(network: nn.Module, res: Grid) -> list[int]:
    """Count the operations of one image in each convolution and dense layer, in the order in which they run.

    The pass runs on shapes alone (the meta device); `network` stays as it is, its running statistics too.
    """
    counts: list[int] = []

    def add(layer: nn.Module, _: tuple[Tensor, ...], outputs: Tensor) -> None:
        counts.append(outputs.numel() * layer.weight[0].numel())  # 2 for a multiply-add, of one of two images

    kernels = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [module.register_forward_hook(add) for module in kernels]
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    try:
        # Two images, for in training the variance of one alone can't be taken where the last map has a single cell.
        functional_call(network, shapes, (torch.empty(2, 3, *res, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
    return counts

"""A dense layer that, to answer many images, has its weights packed, and adds bias and GELU within its product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Dense(nn.Linear):
    """A dense layer, perhaps with a GELU behind it."""

    packed: tuple[Tensor, Tensor | None] | None = None
    """Weights as oneDNN wants them, and the bias, in bf16: inside `packing` alone."""

    def forward(self, x: Tensor, gelu: nn.GELU | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if torch.compiler.is_compiling() or self.packed is None or not x.numel():
            x = super().forward(x)
            return x if gelu is None else gelu(x)
        then, kind = ("none", "") if gelu is None else ("gelu", gelu.approximate)
        x = x.to(torch.bfloat16).contiguous()
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, *self.packed, then, [], kind)
        return fused


@contextmanager
def packing(model: nn.Module, device: torch.device, precision: str) -> Iterator[None]:
    """Have the dense layers of `model` answer faster inside the block, without gradients; no weight may change in it.

    On CPUs in bf16 torch casts the weights for each batch, writes a bias first and reads it again to add the product, and a
    GELU reads and writes once more. oneDNN, in the operation that torch.compile uses, does all of it before it rounds,
    with weights that are laid out for it once.
    """
    layers = find_layers(model) if device.type == "cpu" and precision != "fp32" else []
    try:
        for layer in layers:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(torch.bfloat16))
            layer.packed = weight, None if layer.bias is None else layer.bias.detach().to(torch.bfloat16)
        yield
    finally:
        for layer in layers:
            layer.packed = None


def find_layers(model: nn.Module) -> list[Dense]:
    """Give the layers that can be packed: whole ones (no parts of FSDP's), where oneDNN computes in bf16."""
    has_all = all(map(hasattr, [torch.ops.mkldnn] * len(NEEDED), NEEDED))
    if not has_all or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return []
    return [layer for layer in model.modules() if isinstance(layer, Dense) and type(layer.weight) is nn.Parameter]


NEEDED = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")

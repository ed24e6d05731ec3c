"""A dense layer that adds its bias, and applies the GELU behind it, within the product where that can be done."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn


class Dense(nn.Linear):
    """A dense layer, perhaps with a GELU behind it: without gradients, on CPUs in bf16, all of it is one pass over memory.

    torch adds a bias to bf16 products on CPUs by writing it first and reading it again, and a GELU reads and writes once
    more. oneDNN does both before it rounds, in the operation that torch.compile uses, too.
    """

    def forward(self, x: Tensor, gelu: nn.GELU | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if self.bias is not None and can_fuse(x):
            dtype = torch.bfloat16
            weight, bias = self.weight.to(dtype), self.bias.to(dtype)
            then, kind = ("none", "") if gelu is None else ("gelu", gelu.approximate)
            fused: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype).contiguous(), weight, bias, then, [], kind)
            return fused
        x = super().forward(x)
        return x if gelu is None else gelu(x)


def can_fuse(x: Tensor) -> bool:
    """Tell whether a product of `x` can be fused with what comes behind it."""
    return (
        x.is_cpu
        and not torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and x.numel() > 0
        and fuses_bf16()
        and not torch.compiler.is_compiling()
    )


@cache
def fuses_bf16() -> bool:
    """Tell whether torch has oneDNN's operation, and oneDNN computes in bf16 on this processor."""
    operations = torch.ops.mkldnn
    has_both = hasattr(operations, "_linear_pointwise") and hasattr(operations, "_is_mkldnn_bf16_supported")
    return has_both and bool(operations._is_mkldnn_bf16_supported())

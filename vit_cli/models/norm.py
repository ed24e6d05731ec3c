"""LayerNorm in the type of its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.LayerNorm):
    """A LayerNorm whose result has the type of what goes in; mean and deviation are worked out in float32 all the same.

    Autocast on a GPU would widen the result to float32, for the next product to narrow it again.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        if x.dtype == torch.float32:
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if x.is_cpu:
            return torch.native_layer_norm(x, self.normalized_shape, weight, bias, self.eps)[0]
        with torch.autocast(x.device.type, enabled=False):  # which GPUs take only with weights of the same type
            return F.layer_norm(x, self.normalized_shape, weight.to(x.dtype), bias.to(x.dtype), self.eps)

"""LayerNorm in the type of its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Norm(nn.LayerNorm):
    """A LayerNorm whose result has the type of what goes in; mean and deviation are worked out in float32 all the same.

    Autocast on a GPU would widen the result to float32, for the next product to narrow it again.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        if x.dtype == torch.float32:
            return super().forward(x)
        return torch.native_layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)[0]

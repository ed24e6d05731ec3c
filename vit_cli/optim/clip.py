"""The global norm of the gradients, and its limit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Clip:
    """Scales all gradients by min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_."""

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        """Clip in place; give the norm from before () on the device, without waiting for it."""
        norm: Tensor = torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
        return norm


class NoClip:
    """Measures the gradients and leaves them alone."""

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        """Give the norm () on the device, without waiting for it."""
        norm: Tensor = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in parameters if parameter.grad is not None]
        )
        return norm

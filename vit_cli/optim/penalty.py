"""The L1 penalty, added to the gradients rather than to the graph."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vit_cli.optim.parts import own


class L1:
    """Adds the gradient of `strength` * sum |w| over the trainable of `parameters`: strength * sign(w), 0 at w = 0.

    A parameter that no image of the step went through, and so has no gradient, is left alone.
    """

    def __init__(self, parameters: Iterable[Tensor], strength: float) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.strength = strength

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Add to the gradients, after the backward passes and before clipping; give the penalty () on the device."""
        used = [parameter for parameter in self.parameters if parameter.grad is not None]
        grads = own(parameter.grad for parameter in used)
        torch._foreach_add_(grads, torch._foreach_sign(own(used)), alpha=self.strength)
        return self.strength * torch.stack(torch._foreach_norm(self.parameters, 1)).sum()


class NoPenalty:
    """No penalty: the gradients stay as they are."""

    def __call__(self) -> Tensor:
        """Give 0."""
        return torch.zeros(())

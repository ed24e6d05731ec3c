"""How far numbers are off: mean absolute error, root mean squared error, R squared."""

from __future__ import annotations

import torch
from torch import Tensor

from vit_cli.section import Scale


class Deviation:
    """Errors of each of T targets, which come standardised by `scale`; the scores are in the user's units.

    The sums are (5, T): images, absolute errors, squared errors, targets, squared targets.
    """

    def __init__(self, scale: Scale) -> None:
        self.scale = scale

    def start(self, device: torch.device) -> Tensor:
        """Give zeros (5, T)."""
        return torch.zeros(5, len(self.scale.std), dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:  # noqa: ARG002
        """Add a batch: (b, T) predictions and targets, both standardised."""
        true, off = labels.double(), logits.double() - labels.double()
        sums += torch.stack([torch.ones_like(off), off.abs(), off.square(), true, true.square()]).sum(1)

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `r2`, the mean over the targets, and of a single one `mae` and `rmse`, too: others have other units."""
        each = self.each(sums)
        return {name: values.mean().item() for name, values in each.items() if name == "r2" or len(values) == 1}

    def each(self, sums: Tensor) -> dict[str, Tensor]:
        """Give `mae`, `rmse` and `r2` of each target (T,).

        `r2` is 1 - (squared errors / squared distances from these images' own mean). Where all true values are the same
        it is 1 without any error, else 0, as in scikit-learn.
        """
        images, absolute, squared, total, total_squared = sums
        std = torch.tensor(self.scale.std, dtype=torch.float64, device=sums.device)
        spread = total_squared - total.square() / images
        has_spread = spread > 1e-12 * total_squared  # less is rounding
        r2 = torch.where(has_spread, 1 - squared / spread, (squared == 0).double())
        return {"mae": std * absolute / images, "rmse": std * (squared / images).sqrt(), "r2": r2}

"""`TrainState`: the only thing that changes while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass
class TrainState:
    """How far training is. Weights, moments and averages live in the run's model, optimiser and EMA."""

    step: int = 0
    """Finished steps; the data cursor follows from it."""
    best: float | None = None
    """The best score so far: the task's main one, or minus the loss where early stopping watches the loss."""
    best_loss: float = 0.0
    """Its validation loss, which decides between equal scores."""
    best_step: int = 0
    best_score: float = 0.0
    """The task's main score then."""
    judged_step: int = 0
    """The step after which it was last evaluated."""
    reference: float | None = None
    """The score that last grew by what early stopping asks for, `waited` evaluations ago."""
    waited: int = 0
    loss_total: float = 0.0
    """Sum of the training losses since the last row of metrics.csv, over `loss_steps` steps."""
    loss_steps: int = 0
    skipped: int = 0
    """Steps that changed nothing because the loss or the gradient was not finite, `skipped_in_a_row` of them just now."""
    skipped_in_a_row: int = 0
    finished: bool = False

    def plain(self) -> dict[str, Any]:
        """Give plain values for a checkpoint."""
        return asdict(self)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take the values of `plain` back."""
        for field in fields(self):
            setattr(self, field.name, saved[field.name])

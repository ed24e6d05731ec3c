"""Which share of its patches a model is trained without, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vit_cli.models.classifier import Classifier
from vit_cli.models.drop_tokens import AllTokens, DropTokens
from vit_cli.models.vit import ViT
from vit_cli.recipe.plan import Plan


@dataclass(frozen=True)
class Dropping:
    """Has `model` leave out patches in some phases of a run: each has a module, and ends before the step beside it."""

    model: ViT
    phases: tuple[tuple[int, nn.Module], ...]

    def enter(self, step: int) -> None:
        """Prepare the model for a step."""
        self.model.drop_tokens = next(module for end, module in self.phases if step < end)


class NoDropping:
    """The model always sees all patches."""

    def enter(self, step: int) -> None:
        """Do nothing."""


def build_dropping(plan: Plan, model: Classifier) -> Dropping | NoDropping:
    """Make what prepares a model for the steps of a run."""
    if not any(phase.drop_tokens for phase in plan.phases):
        return NoDropping()
    assert isinstance(model, ViT), "the recipe was checked"
    return Dropping(
        model,
        tuple(
            (phase.until_step, DropTokens(phase.drop_tokens, model.prefix) if phase.drop_tokens else AllTokens())
            for phase in plan.phases
        ),
    )

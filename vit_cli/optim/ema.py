"""A moving average of the weights, and its exchange with the weights for an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vit_cli.errors import CheckpointError
from vit_cli.optim.parts import own


class Ema:
    """The exponential moving average of a model's parameters, on their device and in their dtype.

    Buffers need no average: `swapped` leaves the model's own in place.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, Tensor]], decay: float, warmup: bool) -> None:
        self.decay = decay
        self.warmup = warmup
        self.weights = dict(named_parameters)
        self.live = list(self.weights.values())
        self.averages = [weight.detach().clone() for weight in self.live]

    def decay_at(self, step: int) -> float:
        """Give the decay of update number `step`, from 0; the warm-up is TensorFlow's (1 + step) / (10 + step)."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    def weight_at(self, step: int) -> float:
        """Give what the weights after update number `step` count for in the average: what the decay leaves."""
        return 1 - self.decay_at(step)

    @torch.no_grad()
    def update(self, weight: float | Tensor, skipped: Tensor) -> None:
        """Draw the average towards the weights by `weight`, a number or () on the device; not at all if `skipped` () is 1."""
        weight = weight * (1 - skipped)
        torch._foreach_lerp_(own(self.averages), own(self.live), [weight] * len(self.live))

    def state(self) -> dict[str, Tensor]:
        """Give the averages by parameter name; they are the tensors themselves, not copies."""
        return dict(zip(self.weights, self.averages, strict=True))

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the averages of `state()`; raises CheckpointError if they are of other parameters."""
        odd = sorted(state.keys() ^ self.weights.keys())
        if odd:
            raise CheckpointError(
                f"the averaged weights do not fit the model: {len(odd)} of the names differ, '{odd[0]}' for one",
                "resume with the recipe that the checkpoint was trained with",
            )
        for name, average in self.state().items():
            if average.shape != state[name].shape:
                theirs, ours = tuple(state[name].shape), tuple(average.shape)
                raise CheckpointError(f"the averaged weights '{name}' are {theirs}, but the model's are {ours}")
            average.copy_(state[name])

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Put the averages into `model` (its parameters found by name) for the block, then its weights, bit for bit."""
        parameters = dict(model.named_parameters())
        live = [parameters[name] for name in self.weights]
        kept = [weight.detach().clone() for weight in live]
        try:
            copy_all(live, self.averages)
            yield
        finally:
            copy_all(live, kept)


@torch.no_grad()
def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each of `sources` into its target; torch's one call for it does not know sharded tensors."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


class NoEma:
    """No average: the weights stay as they are."""

    def weight_at(self, step: int) -> float:  # noqa: ARG002
        """Give 0: the weights count for nothing in no average."""
        return 0.0

    def update(self, weight: float | Tensor, skipped: Tensor) -> None:
        """Do nothing."""

    def state(self) -> dict[str, Tensor]:
        """Give nothing to save."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing."""

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:  # noqa: ARG002
        """Leave `model` alone."""
        yield

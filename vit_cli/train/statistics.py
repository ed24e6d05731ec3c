"""Running statistics of BatchNorm: equal on all processes after every step, as they were after a skipped one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vit_cli.dist.world import World


class RunningStatistics:
    """The saved tensors of a model that are no parameters, such as BatchNorm's running means and variances.

    Each process normalises by its own images, micro batch by micro batch, and counts them on its own. After the step
    all go on with the mean over the processes: an evaluation, a checkpoint or a resumed run finds the same values on
    each, whenever it happens. The averaged weights of an `Ema` are judged with these statistics, for they have none.
    """

    def __init__(self, buffers: Sequence[Tensor], world: World) -> None:
        kinds = {buffer.dtype for buffer in buffers}
        self.groups = [[buffer for buffer in buffers if buffer.dtype == kind] for kind in sorted(kinds, key=str)]
        self.world = world
        self.before = [flatten(group) for group in self.groups]

    def tensors(self) -> list[Tensor]:
        """Give them, as they are now."""
        return [buffer for group in self.groups for buffer in group]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember them, before the first forward pass of a step."""
        self.before = [flatten(group) for group in self.groups]

    @torch.no_grad()
    def settle(self, skipped: Tensor) -> None:
        """Bring all processes to the same values; to those remembered if `skipped` () is 1."""
        for group, before in zip(self.groups, self.before, strict=True):
            now = flatten(group)
            if now.is_floating_point():  # counts of batches are equal already
                self.world.mean(now)
            settled = torch.where(skipped > 0, before, now).split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [part.view_as(buffer) for part, buffer in zip(settled, group, strict=True)])


class NoStatistics:
    """Nothing but parameters changes in this model."""

    def tensors(self) -> list[Tensor]:
        """Give nothing."""
        return []

    def keep(self) -> None:
        """Do nothing."""

    def settle(self, skipped: Tensor) -> None:
        """Do nothing."""


def find_statistics(model: nn.Module, world: World) -> RunningStatistics | NoStatistics:
    """Give what keeps the running statistics of `model`: the saved tensors that are no parameters, if there are any."""
    saved = model.state_dict().keys()
    buffers = [buffer for name, buffer in model.named_buffers() if name in saved]
    return RunningStatistics(buffers, world) if buffers else NoStatistics()


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Copy tensors of one dtype into one row (n,)."""
    return torch.cat([tensor.flatten() for tensor in tensors])

"""Models that do not fit on every process: weights, gradients, moments and averages in parts (FSDP2; Zhao et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

LISTS = (nn.ModuleList, nn.Sequential)


def shard_model(model: nn.Module) -> None:
    """Leave to each process its part of every parameter, cut along the first dimension; all start from the first one's.

    Names, shapes and gradients stay those of the whole model. Each member of a list of modules, such as a block of a
    transformer, is put together just before it is used and parted again after it; the rest of the model likewise.
    In bf16 the whole weights stay in memory as such, two bytes each, from the forward to the backward pass (autocast).
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    for tensor in chain(model.parameters(), model.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    for piece in (*find_blocks(model), model):
        # By itself FSDP leaves the outermost parameters whole after a forward pass, until the next backward one.
        fully_shard(piece, mesh=mesh, reshard_after_forward=True)
    # FSDP makes its buffers when it first needs them; if that is in inference mode, no training can use them.
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
            module.reshard()


def is_parted(tensor: object) -> TypeGuard[DTensor]:
    """Tell whether a tensor is in parts; by what it can do, for torch takes a second to import their class."""
    return hasattr(tensor, "to_local")


def find_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Find the members of all lists of modules that have parameters; what is inside such a member stays together."""
    for child in module.children():
        if isinstance(child, LISTS) or not isinstance(module, LISTS):
            yield from find_blocks(child)
        elif any(True for _ in child.parameters()):
            yield child


def update(optimizer: torch.optim.Optimizer) -> None:
    """Make an optimiser's step, each process on its own part where the parameters are in parts."""
    with OwnParts() if is_parted(optimizer.param_groups[0]["params"][0]) else nullcontext():
        optimizer.step()


class OwnParts(TorchFunctionMode):
    """For a block, torch's fused SGD goes element by element over this process's parts; of Adam torch knows that it can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._fused_sgd_:
            args = [[tensor.to_local() for tensor in tensors] for tensors in args]
        return func(*args, **(kwargs or {}))


def is_sharded(model: nn.Module) -> bool:
    """Tell whether this process has only a part of the model's parameters."""
    return is_parted(next(model.parameters(), None))


def whole(tensor: Tensor) -> Tensor:
    """Put a parted tensor together on every process, where it is; a plain one stays itself. All processes must call it."""
    full: Tensor = tensor.full_tensor() if is_parted(tensor) else tensor
    return full


def own_part(tensor: Tensor) -> Tensor:
    """Give what this process has of a tensor: all of it, if it is plain."""
    part: Tensor = tensor.to_local() if is_parted(tensor) else tensor
    return part


def copy_whole(value: Any, keeps: bool) -> Any:
    """Copy dictionaries, lists and tuples with every tensor in them, put together, in host memory.

    All processes must call it; one that does not `keeps` the result gets empty tensors, and needs no memory for them.
    """
    if isinstance(value, Tensor):
        full = whole(value.detach())
        return full.to("cpu", copy=True) if keeps else torch.empty(0)
    if isinstance(value, Mapping):
        return {key: copy_whole(inner, keeps) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_whole(inner, keeps) for inner in value)
    return value


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """Take this process's part of a whole tensor that every process has, cut as `like` is; all of it if that is plain."""
    if not is_parted(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    cut = distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
    return cut.clone()  # else it would hold on to the whole


def part_all(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take this process's part of each whole tensor, as the one of the same name is cut; one without such stays."""
    return {name: part(tensor, like.get(name, tensor)) for name, tensor in tensors.items()}


def part_moments(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Make a saved `optimizer.state_dict()` of whole tensors fit an optimiser of parted parameters, or of plain ones.

    What has the shape of its parameter, such as a moment, is cut like it; the rest, such as the number of a step, is not.
    """
    parameters = dict(enumerate(chain.from_iterable(group["params"] for group in optimizer.param_groups)))

    def fit(value: Any, parameter: Tensor | None) -> Any:
        is_moment = parameter is not None and isinstance(value, Tensor) and value.shape == parameter.shape
        return part(value, parameter) if is_moment else value

    state = {
        number: {key: fit(value, parameters.get(number)) for key, value in values.items()}
        for number, values in saved["state"].items()
    }
    return {**saved, "state": state}

"""Weights read out of a model against the model's own output: what they mix must be what it gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unit.inspect.tiny import TRANSFORMERS, build, images
from vit_cli.inspect.attention import watching, weigh
from vit_cli.inspect.parts import find_parts
from vit_cli.models.attention import Attention
from vit_cli.models.cct_layers import SequencePool
from vit_cli.models.heads import MapHead
from vit_cli.models.tnt_layers import SplitAttention


def mix(module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    """Do the rest of a module by hand, from its weights on."""
    if isinstance(module, SequencePool):
        return (weights[:, 0] @ x)[:, 0]
    heads = weights.shape[1]
    if isinstance(module, SplitAttention):
        values = module.v(x)
    else:
        values = (module.kv if isinstance(module, MapHead) else module.qkv)(x)[..., -x.shape[-1] :]
    split = torch.stack(values.chunk(heads, dim=-1), dim=1)
    mixed = module.out(torch.cat(list((weights @ split).unbind(dim=1)), dim=-1))
    if isinstance(module, MapHead):
        return (mixed + module.mlp(module.norm(mixed)))[:, 0]
    return mixed


def record(model: nn.Module, modules: list[nn.Module]) -> list[tuple[nn.Module, tuple[Any, ...], Tensor]]:
    """Run a model and keep what each module got and gave."""
    found: list[tuple[nn.Module, tuple[Any, ...], Tensor]] = []
    handles = [module.register_forward_hook(lambda *call: found.append(call)) for module in modules]
    model.features(images())
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("kind", TRANSFORMERS)
@torch.inference_mode()
def test_the_weights_times_the_values_are_what_the_module_gives(kind: str) -> None:
    model = build(kind)
    model.seen = None  # all tokens of the last block
    modules = [m for m in model.modules() if isinstance(m, Attention | SplitAttention | MapHead | SequencePool)]
    calls = record(model, modules)
    assert len(calls) == len(modules) >= 2
    for module, arguments, output in calls:
        weights = weigh(module, *arguments)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
        torch.testing.assert_close(mix(module, arguments[0], weights), output, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_patches_pay_nothing_outside_their_window_and_the_class_token_looks_everywhere() -> None:
    model, seen = build("axial"), {}
    with watching(find_parts(model).attention, seen.__setitem__):
        model.features(images())
    places = torch.cartesian_prod(torch.arange(3), torch.arange(5))
    for layer, axis in ((0, 0), (1, 1)):  # rows first, then columns
        same = places[:, None, axis] == places[None, :, axis]
        among = seen[layer][:, :, 1:, 1:]
        assert (among[..., ~same] == 0).all()
        assert (among[..., same] > 0).all()
        assert (seen[layer][:, :, 0] > 0).all()
        assert (seen[layer][:, :, :, 0] > 0).all()


@torch.inference_mode()
def test_watching_changes_no_output_and_leaves_no_hook_behind() -> None:
    model, seen = build("everything"), []
    before = model(images())
    with watching(find_parts(model).attention, lambda place, _: seen.append(place)):
        during = model(images())
        with pytest.raises(ValueError, match="12x24"):
            model(images(res=(12, 24)))
    assert torch.equal(during, before)
    assert torch.equal(model(images()), before)
    assert seen == [0, 1]


def test_a_module_without_attention_is_refused() -> None:
    with pytest.raises(TypeError, match="Linear has no attention"):
        weigh(nn.Linear(2, 2), torch.zeros(1, 2, 2))

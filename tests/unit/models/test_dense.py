"""The dense layer against torch's own, and packed against itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vit_cli.models.dense import Dense, find_layers, packing
from vit_cli.models.vit import Vit

FUSED = "mkldnn::_linear_pointwise"
CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(bias: bool = True) -> Dense:
    torch.manual_seed(0)
    return Dense(24, 32, bias=bias)


needs_bf16 = pytest.mark.skipif(not find_layers(make()), reason="oneDNN does not compute in bf16 on this processor")


@contextmanager
def answering(model: nn.Module, precision: str = "bf16") -> Iterator[None]:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), packing(model, CPU, precision):
        yield


def operations(model: nn.Module, x: Tensor, *rest: nn.GELU) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        model(x, *rest)
    return {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("approximate", ["none", "tanh", None])
@pytest.mark.parametrize("shape", [(3, 5, 24), (7, 24), (0, 5, 24)])
def test_packed_in_bf16_it_is_the_layer_and_the_gelu_in_float32(
    bias: bool, approximate: str | None, shape: tuple[int, ...]
) -> None:
    layer, x = make(bias), random(*shape)
    after = () if approximate is None else (nn.GELU(approximate=approximate),)
    exact = F.linear(x, layer.weight, layer.bias)
    exact = exact if approximate is None else F.gelu(exact, approximate=approximate)
    with answering(layer):
        rough = layer(x, *after)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.02, atol=0.02)


@needs_bf16
def test_parts_of_larger_tensors_are_read_as_they_are() -> None:
    layer, x = make(), random(5, 3, 24).transpose(0, 1)[:, :2]
    with answering(layer):
        torch.testing.assert_close(layer(x), layer(x.contiguous()), rtol=0, atol=0)
        torch.testing.assert_close(
            layer(x).float(), F.linear(x, layer.weight, layer.bias).float(), rtol=0.02, atol=0.02
        )


@needs_bf16
def test_one_operation_does_it_all_inside_the_block_and_in_bf16_alone() -> None:
    layer, x, gelu = make(), random(3, 5, 24), nn.GELU()
    with answering(layer):
        seen = operations(layer, x, gelu)
        assert FUSED in seen
        assert not {"aten::gelu", "aten::addmm"} & seen
    with answering(layer, "fp32"):
        assert FUSED not in operations(layer, x, gelu)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert FUSED not in operations(layer, x, gelu)


@needs_bf16
def test_weights_that_have_learned_are_packed_anew_whatever_ended_the_block() -> None:
    layer, x = make(), random(3, 24)
    with pytest.raises(KeyError), answering(layer):
        raise KeyError
    before = layer(x)
    assert before.requires_grad
    with torch.no_grad():
        layer.weight.mul_(2)
    with answering(layer):
        torch.testing.assert_close(
            layer(x).float(), F.linear(x, layer.weight, layer.bias).float(), rtol=0.02, atol=0.02
        )
    assert list(layer.state_dict()) == ["weight", "bias"]


@needs_bf16
@pytest.mark.parametrize("pool", ["cls", "gap", "map"])
def test_a_model_answers_as_near_to_the_exact_logits_as_without(pool: str) -> None:
    torch.manual_seed(0)
    model = (
        Vit.model_validate({"width": 64, "depth": 3, "heads": 2, "patch": 4, "res": 16, "pool": pool}).build(4).eval()
    )
    nn.init.normal_(model.get_parameter("head.weight"), std=0.1)
    x = random(6, 3, 16, 16)
    exact = copy.deepcopy(model).double()(x.double()).float()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(x).float()
    with answering(model):
        assert FUSED in operations(model, x)
        answered = model(x).float()
    distance = (answered - exact).abs().mean()
    assert 0 < distance < 2 * (plain - exact).abs().mean()


def test_it_is_torchs_layer_to_all_who_look_for_one() -> None:
    layer, plain = make(), nn.Linear(24, 32)
    plain.load_state_dict(layer.state_dict())
    x = random(3, 24)
    assert isinstance(layer, nn.Linear)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=0)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), plain(x), rtol=0, atol=0)

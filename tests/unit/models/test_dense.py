"""The dense layer against torch's own, and against itself with and without gradients."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vit_cli.models.dense import Dense, fuses_bf16
from vit_cli.models.vit import Vit

FUSED = "mkldnn::_linear_pointwise"
needs_bf16 = pytest.mark.skipif(not fuses_bf16(), reason="oneDNN does not compute in bf16 on this processor")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make() -> Dense:
    torch.manual_seed(0)
    return Dense(24, 32)


def products(model: nn.Module, x: Tensor, *rest: nn.GELU) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        model(x, *rest)
    return {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("approximate", ["none", "tanh", None])
@pytest.mark.parametrize("shape", [(3, 5, 24), (7, 24), (0, 5, 24)])
def test_in_bf16_without_gradients_it_is_the_layer_and_the_gelu_in_float32(
    approximate: str | None, shape: tuple[int, ...]
) -> None:
    layer, x = make(), random(*shape)
    after = () if approximate is None else (nn.GELU(approximate=approximate),)
    exact = F.linear(x, layer.weight, layer.bias)
    exact = exact if approximate is None else F.gelu(exact, approximate=approximate)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rough = layer(x, *after)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.02, atol=0.02)


@needs_bf16
def test_parts_of_larger_tensors_are_read_as_they_are() -> None:
    layer, x = make(), random(5, 3, 24).transpose(0, 1)[:, :2]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x), layer(x.contiguous()), rtol=0, atol=0)
        torch.testing.assert_close(
            layer(x).float(), F.linear(x, layer.weight, layer.bias).float(), rtol=0.02, atol=0.02
        )


@needs_bf16
def test_it_fuses_on_cpus_in_bf16_without_gradients_alone() -> None:
    layer, x, gelu = make(), random(3, 5, 24), nn.GELU()
    with torch.no_grad():
        assert FUSED not in products(layer, x, gelu)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert FUSED not in products(layer, x, gelu), "its gradient is not known"
        with torch.no_grad():
            seen = products(layer, x, gelu)
            assert FUSED in seen
            assert not {"aten::gelu", "aten::addmm"} & seen
            assert FUSED not in products(Dense(24, 32, bias=False), x), "there is nothing to fuse"
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        assert FUSED not in products(layer, x, gelu)


@needs_bf16
def test_a_model_answers_alike_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    model = Vit(width=64, depth=3, heads=2, patch=4, res=16, pool="cls").build(4).eval()
    nn.init.normal_(model.get_parameter("head.weight"), std=0.1)
    x = random(6, 3, 16, 16)
    exact = copy.deepcopy(model).double()(x.double()).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        followed = model(x).float()
        with torch.no_grad():
            assert FUSED in products(model, x)
            answered = model(x).float()
    distance = (answered - exact).abs().max()
    assert distance < 2 * (followed - exact).abs().max(), "as near to the exact logits"
    assert distance > 0


def test_it_is_torchs_layer_to_all_who_look_for_one() -> None:
    layer, plain = make(), nn.Linear(24, 32)
    plain.load_state_dict(layer.state_dict())
    x = random(3, 24)
    assert isinstance(layer, nn.Linear)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=0)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), plain(x), rtol=0, atol=0)

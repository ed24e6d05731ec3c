"""The layers against torch's own convolution, timm's layers, and their laws."""

from __future__ import annotations

import math

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.attention import Attention
from vit_cli.models.layers import Block, DropPath, LayerScale, Mlp, PatchEmbedding, SwiGlu


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_patch_embedding_is_a_convolution_of_that_stride() -> None:
    torch.manual_seed(0)
    embedding = PatchEmbedding(patch=4, channels=3, width=8)
    images = random(2, 3, 8, 20)
    kernel = embedding.projection.weight.view(8, 3, 4, 4)
    expected = F.conv2d(images, kernel, embedding.projection.bias, stride=4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(images), expected)
    torch.testing.assert_close(embedding(images.to(memory_format=torch.channels_last)), expected)


def test_the_two_gelus_are_their_formulas() -> None:
    x = random(100)
    tanh = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    exact = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    torch.testing.assert_close(Mlp(2, 2, gelu="tanh").gelu(x), tanh)
    torch.testing.assert_close(Mlp(2, 2, gelu="exact").gelu(x), exact)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drop_path_is_that_of_timm(rate: float) -> None:
    x = random(64, 3, 2)
    torch.manual_seed(7)
    ours = DropPath(rate)(x)
    torch.manual_seed(7)
    assert torch.equal(ours, x * timm.layers.drop_path(torch.ones_like(x), rate, training=True))


def test_drop_path_drops_whole_images_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(20_000, 2, 3)).flatten(1)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert sorted(out.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_has_two_ends_and_does_nothing_in_evaluation() -> None:
    x = random(4, 2, 3)
    assert DropPath(0.0)(x) is x
    assert DropPath(0.9).eval()(x) is x
    assert torch.equal(DropPath(1.0)(x), torch.zeros_like(x))


def test_a_block_whose_branches_are_always_dropped_is_the_identity() -> None:
    x = random(4, 3, 8)
    assert torch.equal(Block(Attention(8, heads=2), Mlp(8, 16), 8, drop_path=1.0)(x), x)


def test_swiglu_is_that_of_timm() -> None:
    torch.manual_seed(0)
    ours, timms = SwiGlu(6, 10), timm.layers.SwiGLUPacked(6, 20)
    timms.load_state_dict(ours.state_dict())
    x = random(2, 5, 6)
    torch.testing.assert_close(ours(x), timms(x))


def test_swiglu_has_its_gate_before_its_value() -> None:
    torch.manual_seed(0)
    ours, x = SwiGlu(6, 10), random(2, 5, 6)
    apart = timm.layers.SwiGLU(6, 10)
    gate, value = ours.fc1.weight.chunk(2)
    state = {"fc1_g.weight": gate, "fc1_x.weight": value, "fc2.weight": ours.fc2.weight, "fc2.bias": ours.fc2.bias}
    state["fc1_g.bias"], state["fc1_x.bias"] = ours.fc1.bias.chunk(2)
    apart.load_state_dict(state)
    torch.testing.assert_close(ours(x), apart(x))


def test_layer_scale_is_that_of_timm_and_starts_at_its_first_value() -> None:
    x = random(2, 5, 6)
    assert torch.equal(LayerScale(6, 1e-4)(x), timm.layers.LayerScale(6, 1e-4)(x))
    scale = LayerScale(6, 0.5)
    with torch.no_grad():
        scale.gamma[2] = 3.0
    assert torch.equal(scale(x)[..., 2], 3 * x[..., 2])
    assert torch.equal(scale(x)[..., 0], 0.5 * x[..., 0])


def test_a_block_whose_scales_are_zero_is_the_identity() -> None:
    torch.manual_seed(0)
    x, block = random(4, 3, 8), Block(Attention(8, heads=2), Mlp(8, 16), 8, layer_scale=1e-5)
    assert not torch.equal(block(x), x)
    torch.nn.init.zeros_(block.scale1.gamma)
    torch.nn.init.zeros_(block.scale2.gamma)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("mlp", [Mlp(8, 20), SwiGlu(8, 20)], ids=["mlp", "swiglu"])
def test_products_are_what_torch_counts(mlp: nn.Module) -> None:
    block = Block(Attention(8, heads=2), mlp, 8, layer_scale=0.1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(random(1, 7, 8))
    assert 2 * block.products(7) == counter.get_total_flops()

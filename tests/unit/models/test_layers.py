"""The layers against torch's own convolution, timm's layers, and their laws."""

from __future__ import annotations

import math

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.attention import Attention
from vit_cli.models.layers import FEWEST, Block, DropPath, LayerScale, Mlp, PatchEmbedding, SwiGlu


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


def double(x: Tensor) -> Tensor:
    return 2 * x


@pytest.mark.parametrize(("rate", "images"), [(0.05, 64), (0.1, 64), (0.5, FEWEST - 1)])
def test_drop_path_of_a_low_rate_or_few_images_is_that_of_timm(rate: float, images: int) -> None:
    x = random(images, 3, 2)
    torch.manual_seed(7)
    ours = DropPath(rate)(x, double, x)
    torch.manual_seed(7)
    assert torch.equal(ours, x + timm.layers.drop_path(double(x), rate, training=True))


@pytest.mark.parametrize(("rate", "kept"), [(0.25, 15), (0.4, 12), (0.9, 2), (0.99, 1)])
def test_above_the_limit_an_exact_number_of_images_goes_through_the_branch(rate: float, kept: int) -> None:
    torch.manual_seed(0)
    seen = []
    x = random(20, 3, 2)
    out = DropPath(rate)(x, lambda part: (seen.append(len(part)), double(part))[1], x)
    assert seen == [kept]
    factors = ((out - x) / double(x)).flatten(1)
    assert sorted(factors[:, 0].round(decimals=4).tolist()) == pytest.approx(
        [0] * (20 - kept) + [20 / kept] * kept, abs=1e-3
    )
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.4, 0.7])
def test_drop_path_keeps_the_expectation_for_every_image(rate: float) -> None:
    torch.manual_seed(0)
    path, x = DropPath(rate), torch.ones(16, 1, 1)
    out = torch.stack([path(x, double, x).flatten() for _ in range(4000)])
    spread = 2 * math.sqrt(rate / (1 - rate) / 4000)  # of the mean of as many independent draws
    assert (out.mean(dim=0) - 3).abs().max() < 5 * spread


def test_the_images_that_drop_path_picks_get_the_gradient_of_the_branch() -> None:
    torch.manual_seed(3)
    x = random(16, 2, 4).requires_grad_()
    weight = random(4, 4).requires_grad_()
    out = DropPath(0.5)(x, lambda part: part @ weight, x)
    out.sum().backward()
    factors = (~torch.isclose(out, x)).any(dim=2).any(dim=1).double()[:, None, None] * 2
    expected = torch.einsum("bnd,bne->de", x.detach().double() * factors, torch.ones(16, 2, 4, dtype=torch.float64))
    torch.testing.assert_close(weight.grad.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), 1 + factors * (torch.ones(16, 2, 4) @ weight.detach().T).double())


def test_drop_path_has_two_ends_and_drops_nothing_in_evaluation() -> None:
    x = random(16, 2, 3)
    assert torch.equal(DropPath(0.0)(x, double, x), 3 * x)
    assert torch.equal(DropPath(0.9).eval()(x, double, x), 3 * x)
    assert torch.equal(DropPath(1.0)(x, double, x), x)


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
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        block(random(1, 7, 8))
    assert 2 * block.products(7) == counter.get_total_flops()

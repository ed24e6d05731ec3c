"""The layers against torch's own attention and convolution, timm's drop path, and their laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_cli.models.layers import (
    MATMUL_TOKENS,
    Attention,
    Block,
    DropPath,
    MapHead,
    Mlp,
    MlpHead,
    PatchEmbedding,
    attend,
    attend_by_products,
)


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


Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]
WAYS = [
    pytest.param(attend, torch.float32, 1e-5, id="attend"),
    pytest.param(attend, torch.bfloat16, 0.05, id="attend-bf16"),
    pytest.param(attend_by_products, torch.float32, 1e-5, id="products"),
    pytest.param(attend_by_products, torch.bfloat16, 0.05, id="products-bf16"),
]


@pytest.mark.parametrize(("way", "dtype", "tolerance"), WAYS)
@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (1, 9)])
def test_every_way_to_attend_is_the_formula_with_its_gradients(
    way: Attend, dtype: torch.dtype, tolerance: float, queries: int, keys: int
) -> None:
    rough = [random(2, 3, n, 4, seed=n + i).to(dtype).requires_grad_() for i, n in enumerate((queries, keys, keys))]
    exact = [tensor.detach().double().requires_grad_() for tensor in rough]
    ours = way(*rough, 0.0)
    q, k, v = exact
    formula = torch.softmax(q @ k.mT / math.sqrt(4), dim=-1) @ v
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), formula, rtol=tolerance, atol=tolerance)
    direction = random(*ours.shape, seed=9).to(dtype)
    gradients = [gradient.double() for gradient in torch.autograd.grad(ours, rough, direction)]
    expected = list(torch.autograd.grad(formula, exact, direction.double()))
    torch.testing.assert_close(gradients, expected, rtol=tolerance, atol=tolerance)


def test_long_sequences_attend_like_short_ones() -> None:
    q, k, v = (random(1, 1, MATMUL_TOKENS + 1, 4, seed=seed).bfloat16() for seed in range(3))
    torch.testing.assert_close(attend(q, k, v, 0.0), attend_by_products(q, k, v, 0.0), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("way", "dtype", "tolerance"), WAYS)
def test_attention_dropout_keeps_the_expectation_of_the_weights(
    way: Attend, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    q = random(64, 8, 10, 4).to(dtype)
    out = way(q, q, torch.ones_like(q), 0.3).float()
    assert out.std() > 0.1
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_attention_ignores_the_order_of_the_other_tokens() -> None:
    torch.manual_seed(0)
    attention, x = Attention(width=8, heads=2), torch.randn(1, 5, 8)
    moved = x[:, [0, 3, 1, 4, 2]]
    torch.testing.assert_close(attention(moved)[:, 0], attention(x)[:, 0])


def test_attention_is_torchs_multi_head_attention() -> None:
    torch.manual_seed(0)
    ours, torchs = Attention(12, heads=3), nn.MultiheadAttention(12, 3, batch_first=True)
    torchs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = random(2, 5, 12)
    torch.testing.assert_close(ours(x), torchs(x, x, x, need_weights=False)[0])


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="width 10 does not divide into 3 heads"):
        Attention(10, 3)


def test_the_two_gelus_are_their_formulas() -> None:
    x = random(100)
    tanh = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    exact = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    torch.testing.assert_close(Mlp(2, 2, gelu="tanh").gelu(x), tanh)
    torch.testing.assert_close(Mlp(2, 2, gelu="exact").gelu(x), exact)
    torch.testing.assert_close(MlpHead(2, 2, 2, "gelu").activation(x), tanh)
    torch.testing.assert_close(MlpHead(2, 2, 2, "tanh").activation(x), torch.tanh(x))


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
    assert torch.equal(Block(8, heads=2, mlp=16, drop_path=1.0)(x), x)


def test_the_map_head_is_that_of_timm() -> None:
    torch.manual_seed(0)
    ours = MapHead(12, heads=3, mlp=24, gelu="exact")
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.5)
    timms = timm.layers.AttentionPoolLatent(12, num_heads=3, mlp_ratio=2.0, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    renamed = {"probe": "latent", "out.weight": "proj.weight", "out.bias": "proj.bias"}
    timms.load_state_dict({renamed.get(name, name): value for name, value in ours.state_dict().items()})
    x = random(2, 7, 12)
    torch.testing.assert_close(ours(x), timms(x), rtol=1e-5, atol=1e-5)


def test_the_map_head_ignores_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    head, x = MapHead(8, heads=2, mlp=16), random(2, 6, 8)
    torch.testing.assert_close(head(x[:, torch.randperm(6)]), head(x))

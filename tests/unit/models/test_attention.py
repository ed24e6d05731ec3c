"""Attention against its formula, torch's own and timm's; windows against full attention with a mask."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import timm.layers
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.attention import MATMUL_TOKENS, Attention, Windows, attend, attend_by_products
from vit_cli.section import Grid


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("images", "queries", "keys"), [(2, 6, 6), (2, 1, 6), (0, 6, 6), (2, 70, 70)])
def test_products_are_alike_with_and_without_gradients(
    dtype: torch.dtype, images: int, queries: int, keys: int
) -> None:
    q, k, v = (random(images, n, 3, 32, seed=n).transpose(1, 2).to(dtype) for n in (queries, keys, keys))
    bias = random(1, 3, 1, keys)
    with torch.no_grad():
        plain, biased = attend_by_products(q, k, v, 0.0), attend_by_products(q, k, v, 0.0, bias.to(dtype))
    rough = 0.02 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(plain, attend_by_products(q, k, v, 0.0), rtol=rough, atol=rough)
    torch.testing.assert_close(biased, attend_by_products(q, k, v, 0.0, bias.to(dtype)), rtol=rough, atol=rough)


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


@pytest.mark.parametrize("way", [attend, attend_by_products])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 1, 7)])
def test_a_bias_is_added_to_the_logits(way: Callable[..., Tensor], dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    q, k, v = (random(2, 3, n, 4, seed=n).to(dtype) for n in (5, 7, 7))
    bias = random(*shape)
    formula = torch.softmax(q.float() @ k.float().mT / 2 + bias, dim=-1) @ v.float()
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(way(q, k, v, 0.0, bias.to(dtype)).float(), formula, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_normalised_queries_and_keys_are_those_of_timm(qkv_bias: bool) -> None:
    torch.manual_seed(0)
    ours = Attention(12, heads=3, qk_norm=True, qkv_bias=qkv_bias)
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    timms = timm.layers.Attention(12, 3, qkv_bias=qkv_bias, qk_norm=True, norm_layer=timm.layers.LayerNorm)
    renamed = {"norm_q": "q_norm", "norm_k": "k_norm", "out": "proj", "qkv": "qkv"}
    state = {tuple(name.split(".")): value for name, value in ours.state_dict().items()}
    timms.load_state_dict({f"{renamed[layer]}.{kind}": value for (layer, kind), value in state.items()})
    x = random(2, 5, 12)
    torch.testing.assert_close(ours(x), timms(x), rtol=1e-5, atol=1e-5)


# What a patch of a grid may see, told apart from how it is done: the numbers of the windows of two places are equal.
GRIDS = [
    pytest.param(Grid(4, 6), Grid(2, 3), id="windows"),
    pytest.param(Grid(5, 7), Grid(2, 3), id="windows that do not divide"),
    pytest.param(Grid(5, 7), Grid(1, 7), id="rows"),
    pytest.param(Grid(5, 7), Grid(5, 1), id="columns"),
    pytest.param(Grid(3, 4), Grid(9, 9), id="a window larger than the grid"),
]


def seen(grid: Grid, window: Grid, prefix: int) -> Tensor:
    """Tell which keys (n) each query (n) may see."""
    rows, columns = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij")
    number = (rows // window.rows * 1000 + columns // window.columns).flatten()
    mask = torch.ones(prefix + len(number), prefix + len(number), dtype=torch.bool)
    mask[prefix:, prefix:] = number[:, None] == number
    return mask


@pytest.mark.parametrize(("grid", "window"), GRIDS)
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_windows_are_full_attention_with_a_mask_and_so_are_their_gradients(
    grid: Grid, window: Grid, prefix: int
) -> None:
    tokens = prefix + grid.rows * grid.columns
    parts = [random(2, 3, tokens, 4, seed=seed).requires_grad_() for seed in range(3)]
    q, k, v = parts
    logits = (q @ k.mT / 2).masked_fill(~seen(grid, window, prefix), -math.inf)
    expected, ours = logits.softmax(dim=-1) @ v, Windows(grid, window, prefix)(q, k, v, 0.0)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    direction = random(*ours.shape, seed=9)
    torch.testing.assert_close(
        torch.autograd.grad(ours, parts, direction),
        torch.autograd.grad(expected, parts, direction),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_windows_of_no_image_at_all_are_none(grid: Grid, window: Grid, dtype: torch.dtype) -> None:
    """An evaluation on several processes ends with an empty batch on some."""
    none = torch.empty(0, 3, 1 + grid.rows * grid.columns, 4, dtype=dtype)
    assert Windows(grid, window, prefix=1)(none, none, none, 0.0).shape == none.shape


@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_windows_in_bf16_are_near_those_in_float32(grid: Grid, window: Grid) -> None:
    windows = Windows(grid, window, prefix=1)
    parts = [random(2, 3, 1 + grid.rows * grid.columns, 4, seed=seed) for seed in range(3)]
    rough = windows(*(part.bfloat16() for part in parts), 0.0)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), windows(*parts, 0.0), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("grid", "window"), GRIDS)
@pytest.mark.parametrize("prefix", [0, 2])
def test_pairs_are_what_torch_counts(grid: Grid, window: Grid, prefix: int) -> None:
    tokens = prefix + grid.rows * grid.columns
    attention = Attention(8, heads=2, windows=Windows(grid, window, prefix))
    dense = 2 * tokens * 4 * 8 * 8
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        attention(random(1, tokens, 8))
    assert counter.get_total_flops() == dense + 2 * 2 * 8 * attention.pairs(tokens)


@pytest.mark.parametrize(
    ("window", "growth"), [(Grid(4, 4), 4), (Grid(1, 99), 8), (Grid(99, 1), 8), (Grid(99, 99), 16)]
)
def test_windows_cost_what_the_area_grows_by_and_rows_less_than_its_square(window: Grid, growth: int) -> None:
    small, large = (Windows(Grid(side, side), window, prefix=0).pairs for side in (16, 32))
    assert large == growth * small

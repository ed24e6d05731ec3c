"""Pooling by attention against timm's, and the heads' activations and first values."""

from __future__ import annotations

import math
from functools import partial

import pytest
import timm.layers
import torch
from torch import Tensor, nn

from vit_cli.models.heads import MapHead, MlpHead, start_at


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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


def test_the_hidden_layers_activation_is_tanh_or_gelu() -> None:
    x = random(100)
    gelu = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(MlpHead(2, 2, 2, "gelu").activation(x), gelu)
    torch.testing.assert_close(MlpHead(2, 2, 2, "tanh").activation(x), torch.tanh(x))


@pytest.mark.parametrize("head", [nn.Linear(4, 3), MlpHead(4, 5, 3)], ids=["linear", "mlp"])
def test_a_head_starts_at_its_bias_whatever_it_sees(head: nn.Module) -> None:
    start_at(head, -6.9)
    assert torch.equal(head(random(2, 4)), torch.full((2, 3), -6.9))


def test_no_head_has_nothing_to_start() -> None:
    start_at(head := nn.Identity(), -6.9)
    assert torch.equal(head(random(2, 4)), random(2, 4))

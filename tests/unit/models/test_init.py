"""First weights against the formulas of vit_jax and big_vision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vit_cli.models.vit import ViT, Vit

WIDTH = 192


def build(pool: str = "cls", **fields: object) -> ViT:
    torch.manual_seed(0)
    return Vit(width=WIDTH, depth=2, heads=3, patch=8, res=32, pool=pool, **fields).build(10)


def assert_uniform(weight: Tensor, bound: float) -> None:
    assert 0.99 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * bound)


def xavier(inputs: int, outputs: int) -> float:
    return math.sqrt(6 / (inputs + outputs))


def test_q_k_and_v_are_each_drawn_on_their_own() -> None:
    attention = build().blocks[0].attention
    for part in attention.qkv.weight.chunk(3):
        assert_uniform(part, math.sqrt(3 / WIDTH))
    assert_uniform(attention.out.weight, math.sqrt(3 / WIDTH))
    assert not attention.qkv.bias.any()
    assert not attention.out.bias.any()


def test_the_map_head_is_drawn_like_the_blocks() -> None:
    pool = build("map").pool
    for part in (pool.q.weight, *pool.kv.weight.chunk(2), pool.out.weight):
        assert_uniform(part, math.sqrt(3 / WIDTH))
    assert 0.9 * xavier(1, WIDTH) < pool.probe.abs().max().item() <= xavier(1, WIDTH)
    assert not any(layer.bias.any() for layer in (pool.q, pool.kv, pool.out))
    assert_uniform(pool.mlp.fc1.weight, xavier(WIDTH, 4 * WIDTH))


def test_the_mlp_is_xavier_with_tiny_biases() -> None:
    mlp = build().blocks[1].mlp
    for layer in (mlp.fc1, mlp.fc2):
        assert_uniform(layer.weight, xavier(WIDTH, 4 * WIDTH))
        assert layer.bias.std().item() == pytest.approx(1e-6, rel=0.2)


@pytest.mark.parametrize("name", ["embedding.projection", "head.hidden"])
def test_lecun_normal_has_the_variance_of_its_inputs_in_spite_of_the_cut(name: str) -> None:
    layer = build(head="mlp").get_submodule(name)
    std = math.sqrt(1 / layer.in_features)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.015)
    widest = layer.weight.abs().max().item() / std
    assert 2.2 < widest <= 2 / 0.879625 + 1e-4
    assert not layer.bias.any()


def test_positions_are_normal_and_the_class_token_is_zero() -> None:
    model = build()
    assert model.positions.table.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.positions.prefix.std().item() == pytest.approx(0.02, rel=0.2)
    assert not model.cls.any()


def test_two_tables_and_those_of_every_block_are_normal() -> None:
    for name, parameter in build(positions="learned2d", positions_at="layers").positions.named_parameters():
        assert parameter.std().item() == pytest.approx(0.02, rel=0.2), name


@pytest.mark.parametrize("place", ["layers", "shared"])
def test_relative_biases_are_normal(place: str) -> None:
    model = build(positions="relative", positions_at=place)
    for name in Vit(width=8, depth=2, heads=2, positions="relative", positions_at=place).position_grids():
        assert model.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.2)


def test_gate_and_value_are_each_drawn_on_their_own() -> None:
    mlp = build(ffn="swiglu").blocks[1].mlp
    for part in (*mlp.fc1.weight.chunk(2), mlp.fc2.weight):
        assert_uniform(part, xavier(WIDTH, 512))
    assert mlp.fc1.bias.std().item() == pytest.approx(1e-6, rel=0.2)


def test_registers_are_tiny_and_scales_as_asked() -> None:
    model = build(registers=8, layer_scale=1e-5)
    assert model.registers.std().item() == pytest.approx(1e-6, rel=0.1)
    assert model.blocks[0].scale1.gamma.unique().tolist() == pytest.approx([1e-5])


def test_attention_without_bias_has_none() -> None:
    attention = build(qkv_bias=False).blocks[0].attention
    assert attention.qkv.bias is None
    assert_uniform(attention.qkv.weight.chunk(3)[1], math.sqrt(3 / WIDTH))


def test_norms_start_as_nothing() -> None:
    norms = [module for module in build("map").modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 2
    assert all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in norms)


@pytest.mark.parametrize("classes", [10, 100, 1000])
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("pool", ["cls", "gap", "map", "cls_gap"])
def test_the_first_loss_is_exactly_ln_k(classes: int, head: str, pool: str) -> None:
    model = Vit(width=16, depth=1, heads=2, patch=8, res=16, pool=pool, head=head).build(classes)
    logits = model(torch.randn(3, 3, 16, 16))
    assert not logits.any()
    loss = torch.nn.functional.cross_entropy(logits.double(), torch.arange(3))
    assert loss.item() == pytest.approx(math.log(classes), abs=1e-12)


def test_the_starting_bias_is_every_classes_logit() -> None:
    assert build(head_bias=-6.9)(torch.zeros(2, 3, 32, 32)).unique().tolist() == pytest.approx([-6.9])


def test_one_seed_gives_the_same_weights_and_another_seed_others() -> None:
    one, same = build(), build()
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())
    torch.manual_seed(1)
    other = Vit(width=WIDTH, depth=2, heads=3, patch=8, res=32).build(10)
    assert not torch.equal(one.embedding.projection.weight, other.embedding.projection.weight)

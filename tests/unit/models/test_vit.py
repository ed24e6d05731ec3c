"""The whole model against timm's and torchvision's, a plain reference of the paper, and torch's own flop counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from vit_cli.models.vit import ViT, Vit

POOLS = ["cls", "gap", "map"]


def build(classes: int = 5, seed: int = 0, **changes: Any) -> ViT:
    """A tiny model, moved away from its zeros so that every weight matters."""
    fields = {"width": 24, "depth": 3, "heads": 3, "mlp": 48, "patch": 4, "res": (12, 20)}
    torch.manual_seed(seed)
    model = Vit(**fields | changes).build(classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def images(count: int = 2, res: tuple[int, int] = (12, 20)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


def kernel(model: ViT) -> Tensor:
    weight = model.embedding.projection.weight
    return weight.view(weight.shape[0], 3, model.patch, model.patch)


def load_timm(model: ViT, pool: str, act_layer: str) -> TimmViT:
    """timm's model with the same weights. Google pools after the last norm: timm does so with `fc_norm=False`."""
    peer = TimmViT(
        img_size=(12, 20),
        patch_size=4,
        num_classes=5,
        embed_dim=24,
        depth=3,
        num_heads=3,
        mlp_ratio=2.0,
        global_pool={"cls": "token", "gap": "avg", "map": "map"}[pool],
        class_token=pool == "cls",
        fc_norm=False,
        act_layer=act_layer,
    )
    renamed = {"attention.qkv": "attn.qkv", "attention.out": "attn.proj", "pool.out": "attn_pool.proj"}
    renamed |= {"pool.probe": "attn_pool.latent", "pool.": "attn_pool."}
    state = {"patch_embed.proj.weight": kernel(model), "patch_embed.proj.bias": model.embedding.projection.bias}
    state["pos_embed"] = model.positions.table
    if pool == "cls":
        state["cls_token"] = model.cls
        state["pos_embed"] = torch.cat([model.positions.prefix, model.positions.table], dim=1)
    for name, value in model.state_dict().items():
        if not name.startswith(("embedding.", "positions.", "cls")):
            old = next((old for old in renamed if old in name), "")
            state[name.replace(old, renamed[old]) if old else name] = value
    peer.load_state_dict(state)
    return peer.eval()


@pytest.mark.parametrize(
    ("pool", "gelu"),
    [
        ("cls", "exact"),
        ("gap", "exact"),
        ("map", "exact"),
        ("cls", "tanh"),
        ("gap", "tanh"),
    ],  # timm's map head knows no tanh
)
def test_logits_are_those_of_timm(pool: str, gelu: str) -> None:
    model = build(pool=pool, gelu=gelu).eval()
    peer = load_timm(model, pool, {"exact": "gelu", "tanh": "gelu_tanh"}[gelu])
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


TORCHVISION = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention.out": "self_attention.out_proj",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_logits_are_those_of_torchvision(head: str) -> None:
    model = build(res=12, gelu="exact", head=head, head_width=10).eval()
    peer = TorchvisionViT(12, 4, 3, 3, 24, 48, num_classes=5, representation_size=10 if head == "mlp" else None).eval()
    parts = {
        "embedding.projection": "conv_proj",
        "norm": "encoder.ln",
        "head.hidden": "heads.pre_logits",
        "head.classes": "heads.head",
        "head": "heads.head",
    }
    for i in range(3):
        block = f"encoder.layers.encoder_layer_{i}"
        parts |= {f"blocks.{i}.{ours}": f"{block}.{theirs}" for ours, theirs in TORCHVISION.items()}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        part, _, kind = name.rpartition(".")
        if part in parts:
            state[f"{parts[part]}.{kind}"] = value
        elif part.endswith("attention.qkv"):
            state[f"encoder.layers.encoder_layer_{part.split('.')[1]}.self_attention.in_proj_{kind}"] = value
    state["conv_proj.weight"] = kernel(model)
    state["class_token"] = model.cls
    state["encoder.pos_embedding"] = torch.cat([model.positions.prefix, model.positions.table], dim=1)
    peer.load_state_dict(state)
    x = images(res=(12, 12))
    torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)


def forward_by_the_paper(model: ViT, x: Tensor, p: float, attention_p: float, paths: list[float]) -> Tensor:
    """ViT with dropout where appendix B.1 puts it: after each dense layer but q, k, v, and after adding positions."""

    def drop_path(y: Tensor, rate: float) -> Tensor:
        return y * (torch.empty(len(y), 1, 1).bernoulli_(1 - rate) / (1 - rate)) if rate else y

    b, d, heads = len(x), model.width, 3
    patches = F.conv2d(x, kernel(model), model.embedding.projection.bias, stride=model.patch).flatten(2).transpose(1, 2)
    x = torch.cat([model.cls.expand(b, -1, -1), patches], dim=1)
    x = F.dropout(x + torch.cat([model.positions.prefix, model.positions.table], dim=1), p)
    for block, rate in zip(model.blocks, paths, strict=True):
        y = F.layer_norm(x, (d,), block.norm1.weight, block.norm1.bias, 1e-6)
        q, k, v = (
            part.view(b, -1, heads, d // heads).transpose(1, 2) for part in block.attention.qkv(y).split(d, dim=-1)
        )
        weights = F.dropout(torch.softmax(q @ k.transpose(2, 3) / (d // heads) ** 0.5, dim=-1), attention_p)
        y = block.attention.out((weights @ v).transpose(1, 2).flatten(2))
        x = x + drop_path(F.dropout(y, p), rate)
        y = F.layer_norm(x, (d,), block.norm2.weight, block.norm2.bias, 1e-6)
        y = F.dropout(F.gelu(block.mlp.fc1(y), approximate="tanh"), p)
        x = x + drop_path(F.dropout(block.mlp.fc2(y), p), rate)
    return F.layer_norm(x[:, 0], (d,), model.norm.weight, model.norm.bias, 1e-6) @ model.head.weight.T + model.head.bias


@pytest.mark.parametrize(("rule", "paths"), [("linear", [0.0, 0.2, 0.4]), ("constant", [0.4, 0.4, 0.4])])
def test_dropout_stands_where_the_paper_puts_it(rule: str, paths: list[float]) -> None:
    model = build(dropout=0.3, attention_dropout=0.2, drop_path=0.4, drop_path_rule=rule).train()
    torch.manual_seed(3)
    ours = model(images(8))
    torch.manual_seed(3)
    torch.testing.assert_close(ours, forward_by_the_paper(model, images(8), 0.3, 0.2, paths), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", ["linear", "constant"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_drop_path_rates_follow_their_rule(rule: str, depth: int) -> None:
    rates = [block.drop_path.rate for block in build(depth=depth, drop_path=0.4, drop_path_rule=rule).blocks]
    expected = torch.linspace(0, 0.4, depth) if rule == "linear" else torch.full((depth,), 0.4)
    assert rates == pytest.approx(expected.tolist())


@pytest.mark.parametrize("pool", POOLS)
def test_evaluation_is_deterministic_whatever_is_dropped_in_training(pool: str) -> None:
    dropping = build(pool=pool, dropout=0.5, attention_dropout=0.5, drop_path=0.5)
    plain = build(pool=pool)
    assert not torch.equal(dropping(images()), dropping(images()))
    assert torch.equal(dropping.eval()(images()), plain(images()))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("res", [8, (12, 20)])
def test_operations_are_what_torch_counts(pool: str, head: str, res: Any) -> None:
    model = build(pool=pool, head=head, head_width=10, res=res).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images(1, (8, 8) if res == 8 else res))
    assert model.flops() == counter.get_total_flops()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("positions", ["learned", "sincos2d", "none"])
def test_every_parameter_gets_a_gradient(pool: str, positions: str) -> None:
    model = build(pool=pool, positions=positions, head="mlp")
    model(images()).square().sum().backward()
    assert [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


@pytest.mark.parametrize("pool", POOLS)
def test_every_parameter_has_a_layer_and_every_layer_has_parameters(pool: str) -> None:
    model = build(pool=pool, head="mlp")
    by_layer: dict[int, set[str]] = {}
    for name, _ in model.named_parameters():
        by_layer.setdefault(model.layer_of(name), set()).add(name.split(".")[0])
    first = {"embedding", "positions"} | ({"cls"} if pool == "cls" else set())
    last = {"norm", "head"} | ({"pool"} if pool == "map" else set())
    assert by_layer == {0: first, 1: {"blocks"}, 2: {"blocks"}, 3: {"blocks"}, 4: last}
    assert model.layers == 4
    assert model.layer_of("blocks.2.norm1.weight") == 3


@pytest.mark.parametrize("pool", POOLS)
def test_weight_decay_is_for_kernels_only(pool: str) -> None:
    model = build(pool=pool, head="mlp")
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, parameter in model.named_parameters() if model.decays(name, parameter)} == kernels


@pytest.mark.parametrize(("pool", "tokens"), [("cls", 16), ("gap", 15), ("map", 15)])
def test_the_length_of_the_sequence_is_known(pool: str, tokens: int) -> None:
    model = build(pool=pool)
    assert model.encode(images()).shape == (2, tokens, 24)
    assert model.tokens == tokens
    assert model.features(images()).shape == (2, 24)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 20x12 for a model of 12x20 pixels"):
        build()(torch.zeros(1, 3, 20, 12))


@pytest.mark.parametrize("pool", POOLS)
def test_bf16_is_near_float32(pool: str) -> None:
    model = build(pool=pool).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(images())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), model(images()), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("res", "message"), [(200, "nearest are 192 and 208"), ((224, 30), "30 is not .*16 and 32"), (9, "nearest is 16")]
)
def test_a_resolution_that_patches_do_not_divide_names_its_neighbours(res: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Vit(size="tiny", patch=16, res=res)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give a size, or all of width, depth and heads"),
        ({"width": 64, "depth": 2}, "give a size, or all of width, depth and heads"),
        ({"size": "tiny", "heads": 5}, "width 192 does not divide into 5 heads"),
        ({"width": 6, "depth": 1, "heads": 1, "positions": "sincos2d"}, "multiple of 4, not 6"),
        ({"size": "tiny", "dropout": 1.5}, "less than or equal to 1"),
        ({"size": "tiny", "norm_eps": 0.0}, "greater than 0"),
        ({"size": "tiny", "depht": 3}, "Extra inputs are not permitted"),
        ({"size": "tiny", "patch": "16"}, "valid integer"),
        ({"size": "tiny", "channels": 1}, "Input should be 3"),
    ],
)
def test_a_model_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Vit(**fields)


def test_free_dimensions_override_those_of_the_size() -> None:
    assert Vit(size="so400m", depth=3).dimensions == (1152, 3, 4304, 16)
    assert Vit(size="so400m", width=64).dimensions == (64, 27, 256, 16)
    assert Vit(size="so400m", width=64, mlp=100).dimensions == (64, 27, 100, 16)
    assert Vit(width=64, depth=2, heads=4).dimensions == (64, 2, 256, 4)


def test_only_learned_positions_are_tables_to_stretch() -> None:
    assert Vit(size="tiny", res=(32, 64)).position_grids() == {"positions.table": (2, 4)}
    assert Vit(size="tiny", positions="sincos2d").position_grids() == {}
    for name, grid in Vit(size="mu", res=(32, 64)).position_grids().items():
        assert build(size="mu", patch=16, res=(32, 64)).state_dict()[name].shape[1] == grid.rows * grid.columns

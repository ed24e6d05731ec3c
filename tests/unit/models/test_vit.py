"""The whole model against timm's and torchvision's, a plain reference of the paper, and torch's own flop counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import SwiGLUPacked
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmViT
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from vit_cli.models.positions import sincos2d
from vit_cli.models.vit import ViT, Vit

POOLS = ["cls", "gap", "map", "cls_gap"]
EVERYTHING = {"registers": 2, "layer_scale": 0.1, "ffn": "swiglu", "qk_norm": True, "pool_norm": "before"}
KINDS: list[dict[str, Any]] = [
    {"positions": "sincos2d"},
    {"positions": "none"},
    {"positions": "learned2d", "positions_at": "layers"},
    {"positions": "learned", "positions_at": "shared", "cls_position": False},
    {"positions": "relative", "pool": "gap", "cls_token": True},  # the last layer's tells a class token nothing
    {"positions": "relative", "positions_at": "shared"},
    {"positions": "rope"},
    {"positions": "rope", "attention": "window", "window": 2, "full_every": 2},
    {"attention": "axial", "depth": 4},
    EVERYTHING,
]


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


TIMM = {
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "attention.norm_": "attn.",
    "attention.bias.table": "attn.rel_pos.relative_position_bias_table",
    "scale1": "ls1",
    "scale2": "ls2",
    "pool.out": "attn_pool.proj",
    "pool.probe": "attn_pool.latent",
    "pool.": "attn_pool.",
    "registers": "reg_token",
}


def as_timm(model: ViT) -> dict[str, Tensor]:
    """The weights in timm's names, but for the positions at the stem."""
    state = {"patch_embed.proj.weight": kernel(model), "patch_embed.proj.bias": model.embedding.projection.bias}
    for name, value in model.state_dict().items():
        if not name.startswith(("embedding.", "positions.")):
            old = next((old for old in TIMM if old in name), "")
            name = name.replace(old, TIMM[old]) if old else name  # noqa: PLW2901
            state[name.replace("attn.q.", "attn.q_norm.").replace("attn.k.", "attn.k_norm.")] = value
    if model.cls is not None:
        state["cls_token"] = state.pop("cls")
    return state


def load_timm(model: ViT, pool: str, **fields: Any) -> TimmViT:
    """timm's model with the same weights. Google pools after the last norm: timm does so with `fc_norm=False`."""
    standard = {"img_size": (12, 20), "patch_size": 4, "num_classes": 5, "embed_dim": 24, "depth": 3, "num_heads": 3}
    standard |= {"mlp_ratio": 2.0, "global_pool": pool, "class_token": model.cls is not None, "fc_norm": False}
    peer = TimmViT(**standard | fields)
    state = as_timm(model)
    state["pos_embed"] = model.positions.table
    if not fields.get("no_embed_class") and model.positions.prefix is not None:  # timm's registers can have positions
        registers = torch.zeros(1, fields.get("reg_tokens", 0), 24)
        state["pos_embed"] = torch.cat([model.positions.prefix, registers, model.positions.table], dim=1)
    if fields.get("fc_norm"):
        state = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: state[name] for name in state}
    peer.load_state_dict(state)
    return peer.eval()


TIMMS_POOL = {"cls": "token", "gap": "avg", "map": "map"}


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
    peer = load_timm(model, TIMMS_POOL[pool], act_layer={"exact": "gelu", "tanh": "gelu_tanh"}[gelu])
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


SWIGLU = {"mlp_layer": SwiGLUPacked, "mlp_ratio": 4.0, "act_layer": nn.SiLU}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "registers": ({"registers": 4}, {"reg_tokens": 4}),
    "no class position": ({"cls_position": False}, {"no_embed_class": True}),
    "layer scale": ({"layer_scale": 0.1}, {"init_values": 0.1}),
    "qk norm": ({"qk_norm": True}, {"qk_norm": True}),
    "no qkv bias": ({"qkv_bias": False}, {"qkv_bias": False}),
    "swiglu": ({"ffn": "swiglu"}, SWIGLU),
    "norm after pooling": ({"pool_norm": "after"}, {"fc_norm": True}),
}
ALL = tuple({key: value for pair in VARIANTS.values() for key, value in pair[side].items()} for side in (0, 1))


@pytest.mark.parametrize("pool", ["cls", "gap"])
@pytest.mark.parametrize(("ours", "timms"), [*VARIANTS.values(), ALL], ids=[*VARIANTS, "all at once"])
def test_every_variant_is_that_of_timm(pool: str, ours: dict[str, Any], timms: dict[str, Any]) -> None:
    model = build(pool=pool, cls_token=True, gelu="exact", **ours).eval()
    peer = load_timm(model, TIMMS_POOL[pool], **timms)
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


def test_a_map_looks_at_patches_only_as_timms_does() -> None:
    model = build(pool="map", cls_token=True, registers=2, gelu="exact").eval()
    peer = load_timm(model, "map", reg_tokens=2)
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


def test_class_token_and_mean_of_patches_side_by_side_are_those_of_timms_tokens() -> None:
    model = build(pool="cls_gap", registers=2, gelu="exact").eval()
    state = build(pool="cls", registers=2, gelu="exact")
    state.load_state_dict({**model.state_dict(), **{f"head.{name}": p for name, p in state.head.named_parameters()}})
    tokens = load_timm(state, "token", reg_tokens=2).forward_features(images())
    pooled = torch.cat([tokens[:, 0], tokens[:, 3:].mean(dim=1)], dim=1)
    torch.testing.assert_close(model.features(images()), pooled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(images()), model.head(pooled), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_rotations_make_timms_dinov3(pool: str, registers: int) -> None:
    model = build(
        positions="rope", pool=pool, cls_token=True, registers=registers, layer_scale=0.1, qkv_bias=False, gelu="exact"
    ).eval()
    peer = Eva(
        img_size=(12, 20),
        patch_size=4,
        num_classes=5,
        embed_dim=24,
        depth=3,
        num_heads=3,
        mlp_ratio=2.0,
        qkv_bias=False,
        init_values=0.1,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=registers,
        use_fc_norm=False,
        global_pool=TIMMS_POOL[pool],
    ).eval()
    state = {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): p for name, p in as_timm(model).items()
    }
    peer.load_state_dict(state)
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("place", ["layers", "shared"])
def test_relative_biases_make_timms_relative_model(place: str) -> None:
    model = build(positions="relative", positions_at=place, pool="gap", gelu="exact").eval()
    peer = VisionTransformerRelPos(
        img_size=(12, 20),
        patch_size=4,
        num_classes=5,
        embed_dim=24,
        depth=3,
        num_heads=3,
        mlp_ratio=2.0,
        init_values=None,
        rel_pos_type="bias",
        shared_rel_pos=place == "shared",
    ).eval()
    state = as_timm(model)
    if place == "shared":
        state["shared_rel_pos.relative_position_bias_table"] = state.pop("bias.table")
    peer.load_state_dict(state)
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("positions", ["learned", "learned2d"])
@pytest.mark.parametrize("place", ["stem", "layers", "shared"])
def test_positions_are_added_where_they_are_to_be(place: str, positions: str, registers: int) -> None:
    model = build(positions=positions, positions_at=place, registers=registers).eval()
    state = model.state_dict()

    def vectors(block: int) -> Tensor:
        name = f"positions.tables.{block}." if place == "layers" else "positions."
        if positions == "learned":
            table = state[name + "table"]
        else:
            halves = state[name + "columns"].expand(3, 5, 12), state[name + "rows"][0][:, None].expand(3, 5, 12)
            table = torch.cat(halves, dim=-1).reshape(1, 15, 24)
        return torch.cat([state[name + "prefix"], torch.zeros(1, registers, 24), table], dim=1)

    before = [model.cls] + ([model.registers] if registers else [])
    x = torch.cat([*(tokens.expand(2, -1, -1) for tokens in before), model.embedding(images())], dim=1)
    for i, block in enumerate(model.blocks):
        x = block(x + vectors(i) if i == 0 or place != "stem" else x)
    torch.testing.assert_close(model(images()), model.head(model.norm(x)[:, 0]))


def test_fixed_positions_can_come_before_every_block() -> None:
    model = build(positions="sincos2d", positions_at="shared", pool="gap").eval()
    x = model.embedding(images())
    for block in model.blocks:
        x = block(x + sincos2d(model.grid, 24))
    torch.testing.assert_close(model.encode(images()), model.norm(x))


@pytest.mark.parametrize("pool", ["cls", "gap", "map", "cls_gap"])
def test_a_model_without_head_gives_what_a_head_would_see(pool: str) -> None:
    model = build(pool=pool, head="mlp").eval()
    headless = Vit(width=24, depth=3, heads=3, mlp=48, patch=4, res=(12, 20), pool=pool).build(0).eval()
    headless.load_state_dict({name: p for name, p in model.state_dict().items() if not name.startswith("head.")})
    assert torch.equal(headless(images()), model.features(images()))


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
@pytest.mark.usefixtures("masked_paths")
def test_dropout_stands_where_the_paper_puts_it(rule: str, paths: list[float]) -> None:
    model = build(dropout=0.3, attention_dropout=0.2, drop_path=0.4, drop_path_rule=rule).train()
    model.seen = None  # all tokens draw their masks
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
    model.seen = None  # what is not seen counts, too
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(images(1, (8, 8) if res == 8 else res))
    assert model.flops() == counter.get_total_flops()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_operations_of_every_kind_are_what_torch_counts(kind: dict[str, Any]) -> None:
    model = build(**kind).eval()
    model.seen = None  # what is not seen counts, too
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(images(1))
    assert model.flops() == counter.get_total_flops()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", [{}, *KINDS], ids=str)
def test_every_parameter_gets_a_gradient(pool: str, kind: dict[str, Any]) -> None:
    model = build(**{"pool": pool, "head": "mlp"} | kind)
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
    first = {"embedding", "positions"} | ({"cls"} if pool in ("cls", "cls_gap") else set())
    last = {"norm", "head"} | ({"pool"} if pool == "map" else set())
    assert by_layer == {0: first, 1: {"blocks"}, 2: {"blocks"}, 3: {"blocks"}, 4: last}
    assert model.layers == 4
    assert model.layer_of("blocks.2.norm1.weight") == 3


def test_what_stands_before_the_patches_is_of_layer_0_and_positions_before_a_block_of_the_layer_before_it() -> None:
    names = {"registers", "cls", "positions.tables.0.rows", "positions.tables.0.prefix", "embedding.projection.bias"}
    model = build(registers=2, positions="learned2d", positions_at="layers")
    assert {name for name, _ in model.named_parameters() if model.layer_of(name) == 0} >= names
    assert [model.layer_of(f"positions.tables.{i}.columns") for i in range(3)] == [0, 1, 2]
    relative = build(positions="relative", positions_at="shared")
    assert relative.layer_of("bias.table") == 0
    assert build(positions="relative").layer_of("blocks.1.attention.bias.table") == 2
    assert build(layer_scale=0.1).layer_of("blocks.2.scale1.gamma") == 3


@pytest.mark.parametrize("kind", [*({"pool": pool} for pool in POOLS), *KINDS], ids=str)
def test_weight_decay_is_for_kernels_only(kind: dict[str, Any]) -> None:
    model = build(head="mlp", **kind)
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, parameter in model.named_parameters() if model.decays(name, parameter)} == kernels


@pytest.mark.parametrize(
    ("fields", "tokens", "features"),
    [
        ({"pool": "cls"}, 16, 24),
        ({"pool": "gap"}, 15, 24),
        ({"pool": "map"}, 15, 24),
        ({"pool": "cls_gap"}, 16, 48),
        ({"pool": "gap", "cls_token": True, "registers": 4}, 20, 24),
        ({"pool": "map", "registers": 1, "cls_token": True}, 17, 24),
    ],
)
def test_the_length_of_the_sequence_is_known(fields: dict[str, Any], tokens: int, features: int) -> None:
    model = build(**fields)
    assert model.encode(images()).shape == (2, tokens, 24)
    assert model.tokens == tokens
    assert model.features(images()).shape == (2, features)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 20x12 for a model of 12x20 pixels"):
        build()(torch.zeros(1, 3, 20, 12))


@pytest.mark.parametrize("kind", [*({"pool": pool} for pool in POOLS), *KINDS], ids=str)
def test_bf16_is_near_float32(kind: dict[str, Any]) -> None:
    model = build(**kind).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(images())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), model(images()), rtol=0.05, atol=0.05)


def test_a_patch_sees_its_window_until_a_block_without_windows() -> None:
    """Grids of 3 x 5 patches in windows of 2: the first patch shares its window with those at 0, 1, 5 and 6."""

    def reach(**fields: Any) -> list[int]:
        model = build(pool="gap", attention="window", window=2, **fields).eval()
        tokens = torch.randn(1, 15, 24, requires_grad=True)
        x = tokens
        for block in model.blocks:
            x = block(x)
        return torch.autograd.grad(x[0, 0].square().sum(), tokens)[0][0].any(dim=1).nonzero().flatten().tolist()

    assert reach() == [0, 1, 5, 6]
    assert reach(full_every=3) == list(range(15))
    assert reach(full_every=4) == [0, 1, 5, 6]


def test_rows_then_columns_reach_the_whole_grid_in_two_blocks() -> None:
    model = build(pool="gap", attention="axial", depth=2).eval()
    tokens = torch.randn(1, 15, 24, requires_grad=True)
    rows = model.blocks[0](tokens)
    for x, expected in ((rows, range(5)), (model.blocks[1](rows), range(15))):
        gradient = torch.autograd.grad(x[0, 0].square().sum(), tokens, retain_graph=True)[0]
        assert gradient[0].any(dim=1).nonzero().flatten().tolist() == list(expected)

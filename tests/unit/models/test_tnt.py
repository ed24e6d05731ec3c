"""The whole TNT against timm's, published parameter counts and costs, and laws of its two transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from timm.layers import resample_abs_pos_embed
from timm.models import tnt as timm_tnt
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.adapt import load_weights, stretch_tables
from vit_cli.models.positions import Stretch
from vit_cli.models.tnt import TNT, Tnt

TIMM_STRETCH = Stretch(antialias=True)
TINY = {"inner_width": 8, "inner_heads": 2, "width": 24, "heads": 3, "depth": 3, "patch": 8, "word": 4, "res": (16, 24)}

TIMM_PARTS = {
    "embedding.projection": "pixel_embed.proj",
    "fold.norm1": "norm1_proj",
    "fold.norm2": "norm2_proj",
    "fold.projection": "proj",
    "inner.norm1": "norm_in",
    "inner.norm2": "norm_mlp_in",
    "inner.attention": "attn_in",
    "inner.mlp": "mlp_in",
    "outer.norm1": "norm_out",
    "outer.norm2": "norm_mlp",
    "outer.attention": "attn_out",
    "outer.mlp": "mlp",
    ".out.": ".proj.",
}


def build(classes: int = 5, seed: int = 0, **changes: Any) -> TNT:
    """A tiny model, moved away from its zeros so that every weight matters."""
    torch.manual_seed(seed)
    return shake(Tnt(**TINY | changes).build(classes))


def shake(model: TNT, by: float = 0.1) -> TNT:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by)
    return model


def images(count: int = 2, res: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


def in_timm_words(weights: dict[str, Tensor], words: tuple[int, int]) -> dict[str, Tensor]:
    """Our weights under timm's names."""
    state = {}
    for name, value in weights.items():
        renamed = name
        for ours, theirs in TIMM_PARTS.items():
            renamed = renamed.replace(ours, theirs)
        state[renamed] = value
    state["cls_token"] = state.pop("cls")
    state["patch_pos"] = torch.cat([state.pop("outer_positions.prefix"), state.pop("outer_positions.table")], dim=1)
    state["pixel_pos"] = state.pop("inner_positions.table").transpose(1, 2).unflatten(2, words)
    return state


def tiny_timm(model: TNT, res: tuple[int, int], legacy: bool, **rates: float) -> timm_tnt.TNT:
    """timm's model of the same size with the same weights."""
    peer = timm_tnt.TNT(
        img_size=res,
        patch_size=8,
        num_classes=5,
        embed_dim=24,
        inner_dim=8,
        depth=3,
        num_heads_inner=2,
        num_heads_outer=3,
        legacy=legacy,
        **rates,
    )
    peer.load_state_dict(in_timm_words(model.state_dict(), (2, 2)))
    return peer.eval()


@pytest.mark.parametrize("legacy", [False, True])
def test_logits_are_those_of_timm(legacy: bool) -> None:
    model = build(legacy=legacy).eval()
    peer = tiny_timm(model, (16, 24), legacy)
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("masked_paths")
def test_what_is_dropped_in_training_is_what_timm_drops() -> None:
    model = build(dropout=0.3, attention_dropout=0.2, drop_path=0.4).train()
    model.seen = None  # all tokens draw their masks
    rates = {"pos_drop_rate": 0.3, "proj_drop_rate": 0.3, "attn_drop_rate": 0.2, "drop_path_rate": 0.4}
    peer = tiny_timm(model, (16, 24), False, **rates).train()
    torch.manual_seed(3)
    ours = model(images(8))
    torch.manual_seed(3)
    torch.testing.assert_close(ours, peer(images(8)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_logits_at_a_stretched_resolution_are_those_of_timm(legacy: bool) -> None:
    source, target = Tnt(**TINY, legacy=legacy), Tnt(**TINY | {"res": (40, 32)}, legacy=legacy)
    weights = build(legacy=legacy).state_dict()
    model = target.build(5).eval()
    adapted = stretch_tables(weights, source.position_grids(), target.position_grids(), TIMM_STRETCH)
    load_weights(model, adapted.weights)
    assert adapted.changes == ["positions  2x3 -> 5x4 (bicubic + antialias)"]

    theirs = in_timm_words(weights, (2, 2))
    theirs["patch_pos"] = resample_abs_pos_embed(theirs["patch_pos"], [5, 4], [2, 3], num_prefix_tokens=1)
    peer = tiny_timm(model, (40, 32), legacy)
    peer.load_state_dict(theirs)
    x = images(res=(40, 32))
    torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)


PUBLISHED_WITH_TIMM = [
    ("small", False, "tnt_s_patch16_224"),
    ("small", True, "tnt_s_legacy_patch16_224"),
    ("base", False, "tnt_b_patch16_224"),
]


@pytest.mark.slow
@pytest.mark.parametrize("res", [224, 288])
@pytest.mark.parametrize(("size", "legacy", "theirs"), PUBLISHED_WITH_TIMM)
def test_logits_of_a_published_size_are_those_of_timm(size: Any, legacy: bool, theirs: str, res: int) -> None:
    source, target = Tnt(size=size, legacy=legacy), Tnt(size=size, legacy=legacy, res=res)
    torch.manual_seed(0)
    weights = shake(source.build(10), by=0.02).state_dict()
    model = target.build(10).eval()
    load_weights(model, stretch_tables(weights, source.position_grids(), target.position_grids(), TIMM_STRETCH).weights)
    peer = getattr(timm_tnt, theirs)(img_size=res, num_classes=10).eval()
    peer.load_state_dict(timm_tnt.checkpoint_filter_fn(in_timm_words(weights, (4, 4)), peer))
    x = images(1, (res, res))
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)


def test_inner_positions_are_stretched_when_the_words_of_a_patch_change() -> None:
    source, target = Tnt(**TINY), Tnt(**TINY | {"patch": 16, "res": (32, 48)})
    weights = build().state_dict()
    adapted = stretch_tables(weights, source.position_grids(), target.position_grids(), TIMM_STRETCH)
    assert adapted.changes == ["positions  2x2 -> 4x4 (bicubic + antialias)"]
    table = adapted.weights["inner_positions.table"]
    assert table.shape == target.build(5).inner_positions.table.shape
    old = weights["inner_positions.table"].transpose(1, 2).unflatten(2, (2, 2))
    expected = nn.functional.interpolate(old, (4, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(table.transpose(1, 2).unflatten(2, (4, 4)), expected)


PUBLISHED = [
    ("tiny", False, 6_076_408, 1.4),
    ("small", False, 23_768_584, 5.2),
    ("small", True, 23_755_336, 5.2),
    ("base", False, 65_428_680, 14.1),
]


@pytest.mark.parametrize(("size", "legacy", "parameters", "billions"), PUBLISHED)
def test_a_published_size_has_its_published_parameters_and_cost(
    size: Any, legacy: bool, parameters: int, billions: float
) -> None:
    with torch.device("meta"):
        model = Tnt(size=size, legacy=legacy).build(1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.flops() / 2e9 == pytest.approx(billions, abs=0.06)  # published with one decimal


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("res", [8, (16, 24)])
@pytest.mark.parametrize("classes", [0, 5])
def test_operations_are_what_torch_counts(legacy: bool, res: Any, classes: int) -> None:
    model = build(classes, legacy=legacy, res=res).eval()
    model.seen = None  # what is not seen counts, too
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(images(1, (8, 8) if res == 8 else res))
    assert model.flops() == counter.get_total_flops()


@pytest.mark.parametrize("legacy", [False, True])
def test_only_legacy_words_see_beyond_their_patch(legacy: bool) -> None:
    model = build(legacy=legacy)
    x = images(1)
    changed = x.clone()
    changed[:, :, 0, 7] += 1  # the last pixel of the first patch's first row
    differs = (model.embedding(x) != model.embedding(changed)).flatten(1).any(dim=1)
    assert differs.tolist() == [True, legacy, False, False, False, False]


def test_without_positions_the_order_of_patches_does_not_matter() -> None:
    without, with_them = build(positions="inner").eval(), build().eval()
    left, right = images(1).split([8, 16], dim=3)
    swapped = torch.cat([right, left], dim=3)
    torch.testing.assert_close(without(swapped), without(images(1)), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(with_them(swapped), with_them(images(1)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("positions", ["both", "outer", "inner", "none"])
def test_tables_over_a_grid_are_named_and_have_its_size(positions: Any) -> None:
    section = Tnt(**TINY, positions=positions)
    weights = section.build(5).state_dict()
    grids = section.position_grids()
    assert grids.keys() == {name for name in weights if name.endswith("positions.table")}
    assert [weights[name].shape[1] for name in grids] == [grid.rows * grid.columns for grid in grids.values()]
    names = {"both": ["outer", "inner"], "none": []}.get(positions, [positions])
    assert list(grids) == [f"{name}_positions.table" for name in names]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("positions", ["both", "outer", "inner", "none"])
def test_every_parameter_gets_a_gradient(legacy: bool, positions: str) -> None:
    model = build(legacy=legacy, positions=positions)
    model(images()).square().sum().backward()
    assert [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


def test_every_parameter_has_a_layer_and_every_layer_has_parameters() -> None:
    model = build()
    by_layer: dict[int, set[str]] = {}
    for name, _ in model.named_parameters():
        by_layer.setdefault(model.layer_of(name), set()).add(name.split(".")[0])
    first = {"embedding", "inner_positions", "fold", "cls", "outer_positions"}
    assert by_layer == {0: first, 1: {"blocks"}, 2: {"blocks"}, 3: {"blocks"}, 4: {"norm", "head"}}
    assert model.layers == 4
    assert model.layer_of("blocks.2.fold.norm1.weight") == 3


def test_weight_decay_is_for_kernels_only() -> None:
    model = build()
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert {name for name, parameter in model.named_parameters() if model.decays(name, parameter)} == kernels


def test_the_first_logits_are_zero_and_a_model_without_classes_gives_features() -> None:
    torch.manual_seed(0)
    assert not Tnt(**TINY).build(5)(images()).any()
    model, headless = build(), Tnt(**TINY).build(0)
    headless.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("head.")})
    assert torch.equal(headless.eval()(images()), model.eval().features(images()))


def test_first_weights_are_the_authors() -> None:
    torch.manual_seed(0)
    model = Tnt(size="tiny", res=32).build(5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and not name.startswith("embedding."):
            assert not parameter.any()
        elif parameter.ndim >= 2 and parameter.numel() > 500 and not name.startswith(("embedding.", "head.")):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name


def test_evaluation_is_deterministic_whatever_is_dropped_in_training() -> None:
    dropping, plain = build(dropout=0.5, attention_dropout=0.5, drop_path=0.5), build()
    assert not torch.equal(dropping(images()), dropping(images()))
    assert torch.equal(dropping.eval()(images()), plain.eval()(images()))


def test_drop_path_grows_with_depth_and_is_the_same_inside_and_outside() -> None:
    blocks = build(drop_path=0.4).blocks
    assert [block.inner.drop_path.rate for block in blocks] == pytest.approx([0, 0.2, 0.4])
    assert [block.outer.drop_path.rate for block in blocks] == pytest.approx([0, 0.2, 0.4])


def test_dropped_paths_leave_the_folded_words_in() -> None:
    model = build(depth=2, drop_path=1.0).train()
    words, x = torch.randn(6, 4, 8), torch.randn(1, 7, 24)
    kept_words, moved = model.blocks[1](words, x)
    assert torch.equal(kept_words, words)
    assert torch.equal(moved[:, 0], x[:, 0])
    torch.testing.assert_close(moved[:, 1:], x[:, 1:] + model.blocks[1].fold(words, 6))


def test_bf16_is_near_float32() -> None:
    model = build().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(images())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), model(images()), rtol=0.05, atol=0.05)


def test_the_length_of_the_sequence_is_known() -> None:
    model = build()
    assert model.encode(images()).shape == (2, model.tokens, 24) == (2, 7, 24)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 24x16 for a model of 16x24 pixels"):
        build()(torch.zeros(1, 3, 24, 16))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give a size, or all of inner_width, inner_heads, width, heads and depth"),
        ({"width": 64, "heads": 2, "depth": 2}, "give a size, or all of"),
        ({"size": "tiny", "inner_heads": 5}, "inner_width 12 does not divide into 5 inner_heads"),
        ({"size": "tiny", "heads": 5}, "width 192 does not divide into 5 heads"),
        ({"size": "tiny", "word": 5}, "patch 16 does not divide into words of 5 pixels"),
        ({"size": "tiny", "patch": 14, "res": 28}, "patch 14 does not divide into words of 4 pixels"),
        ({"size": "tiny", "res": 200}, "200 is not a multiple of patch 16; the nearest are 192 and 208"),
        ({"size": "tiny", "res": (224, 9)}, "9 is not a multiple of patch 16; the nearest is 16"),
        ({"size": "large"}, "Input should be 'tiny', 'small' or 'base'"),
        ({"size": "tiny", "pool": "gap"}, "Extra inputs are not permitted"),
    ],
)
def test_a_model_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Tnt(**fields)


def test_free_dimensions_override_those_of_the_size() -> None:
    assert Tnt(size="base", depth=3, inner_width=8).dimensions == (8, 4, 640, 10, 3)
    assert Tnt(size="base", word=8).word_grid == (2, 2)

"""The hybrid against timm's, its published sizes, and torch's own flop counter."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.hybrid import Hybrid, HybridViT

pytestmark = pytest.mark.slow

TINY = {"backbone": {"blocks": (1, 1), "width": 32}, "width": 24, "depth": 2, "heads": 3, "res": (32, 48)}
NAMED = {
    "vit_tiny_r_s16_p8_224": {"size": "tiny", "backbone": "stem", "patch": 8},
    "vit_small_r26_s32_224": {"size": "small", "backbone": "r26_32"},
    "vit_base_r50_s16_224": {"size": "base", "backbone": "r50_16"},
    "vit_large_r50_s32_224": {"size": "large", "backbone": "r50_32"},
}


def build(classes: int = 5, **changes: Any) -> HybridViT:
    """A model moved away from its zeros, so that every weight matters."""
    torch.manual_seed(0)
    model = Hybrid(**changes).build(classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model.eval()


def to_timm(model: HybridViT) -> dict[str, Tensor]:
    """The model's weights under timm's names."""
    state = {
        "cls_token": model.cls,
        "pos_embed": torch.cat([model.positions.prefix, model.positions.table], dim=1),
    }
    stem_only = not len(model.embedding.backbone.stages)
    for name, weight in model.state_dict().items():
        if name.startswith("embedding.backbone.root."):
            place = "patch_embed.backbone." + ("" if stem_only else "stem.")
            state[name.replace("embedding.backbone.root.", place)] = weight
        elif name.startswith("embedding.backbone.stages."):
            stage, unit, rest = name.removeprefix("embedding.backbone.stages.").split(".", 2)
            rest = rest.replace("shortcut.", "downsample.")
            state[f"patch_embed.backbone.stages.{stage}.blocks.{unit}.{rest}"] = weight
        elif name.startswith("embedding.projection."):
            p = model.embedding.patch
            shape = (len(weight), -1, p, p) if weight.ndim == 2 else weight.shape
            state[name.replace("embedding.projection", "patch_embed.proj")] = weight.reshape(shape)
        elif name.startswith(("blocks.", "norm.", "head.")):
            state[name.replace("attention.qkv", "attn.qkv").replace("attention.out", "attn.proj")] = weight
    return state


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_r_s16_p8_224", *(pytest.param(name, marks=pytest.mark.long) for name in list(NAMED)[1:])],
)
def test_logits_are_those_of_timm(name: str) -> None:
    model = build(convention="timm", gelu="exact", **NAMED[name])
    peer: TimmViT = timm.create_model(name, num_classes=5).eval()
    peer.load_state_dict(to_timm(model))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(images), peer(images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_logits_at_another_resolution_are_those_of_timm() -> None:
    model = build(convention="timm", gelu="exact", res=(96, 160), **NAMED["vit_small_r26_s32_224"])
    peer = timm.create_model("vit_small_r26_s32_224", num_classes=5, img_size=(96, 160)).eval()
    peer.load_state_dict(to_timm(model))
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(images), peer(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "parameters", "tokens"),
    [
        ({"size": "base"}, 98_659_112, 197),
        ({"size": "base", "res": 384}, 98_950_952, 577),
        ({"size": "small", "backbone": "r26_32"}, 36_431_912, 50),
        ({"size": "small", "backbone": "r26_32", "res": 384}, 36_468_392, 145),
        ({"size": "base", "backbone": "r26_32"}, 101_383_976, 50),
        ({"size": "large", "backbone": "r50_32"}, 328_994_856, 50),
        ({"size": "large", "backbone": "r50_32", "res": 384}, 329_092_136, 145),
        ({"size": "tiny", "backbone": "stem", "patch": 8}, 6_337_704, 50),
    ],
)  # "How to train your ViT?", table 1 rounds them
def test_parameters_are_those_of_the_papers(fields: dict[str, Any], parameters: int, tokens: int) -> None:
    with torch.device("meta"):
        model = Hybrid(**fields).build(1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.tokens == tokens


@pytest.mark.parametrize("patch", [1, 2])
def test_operations_are_what_torch_counts(patch: int) -> None:
    model = build(**TINY, patch=patch)
    model.seen = None  # what is not seen counts, too
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(torch.zeros(1, 3, 32, 48))
    assert model.flops() == counter.get_total_flops()


def test_patches_are_cells_of_the_feature_map() -> None:
    model = build(**TINY, patch=2, positions="none", pool="gap")
    images = torch.randn(2, 3, 32, 48)
    features = model.embedding.backbone(images)
    assert features.shape == (2, 256, 4, 6)
    kernel = model.embedding.projection.weight.view(24, 256, 2, 2)
    by_convolution = torch.conv2d(features, kernel, model.embedding.projection.bias, stride=2)
    torch.testing.assert_close(model.embedding(images), by_convolution.flatten(2).transpose(1, 2))


def test_every_parameter_gets_a_gradient_and_has_a_layer() -> None:
    model = build(**TINY)
    model(torch.randn(2, 3, 32, 48)).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert {layer for name, layer in layers.items() if name.startswith("embedding.")} == {0}
    assert set(layers.values()) == {0, 1, 2, 3}


def test_weight_decay_is_for_kernels_only() -> None:
    model = build(**TINY)
    undecayed = {name for name, parameter in model.named_parameters() if not model.decays(name, parameter)}
    assert all(
        name.endswith(".bias") or ".norm" in name or name.startswith(("norm", "cls", "positions")) for name in undecayed
    )
    assert not any("conv" in name or "projection.weight" in name for name in undecayed)


def test_positions_are_a_table_over_tokens() -> None:
    section = Hybrid(**TINY)
    assert section.position_grids() == {"positions.table": (4, 6)}
    assert build(**TINY).positions.table.shape == (1, 24, 24)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 48x32 for a model of 32x48 pixels"):
        build(**TINY)(torch.zeros(1, 3, 48, 32))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"res": 200}, "200 is not a multiple of 16, the pixels on a side of a token; the nearest are 192 and 208"),
        ({"backbone": "r26_32", "res": 240}, "the nearest are 224 and 256"),
        ({"backbone": "stem", "patch": 8, "res": 16}, "the nearest is 32"),
        ({"backbone": "r101"}, "r50_16"),
        ({"backbone": {"blocks": (0,)}}, "greater than 0"),
        ({"convention": "torch"}, "flax"),
    ],
)
def test_a_hybrid_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Hybrid(size="tiny", **fields)

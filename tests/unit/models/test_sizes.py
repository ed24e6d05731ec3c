"""Parameter counts against the published ones (timm, big_vision, EIFY), to the unit; no weight is ever held in memory."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from vit_cli.models.sizes import SIZES
from vit_cli.models.vit import Vit

pytestmark = pytest.mark.slow


def count(classes: int = 1000, **fields: Any) -> int:
    with torch.device("meta"):
        model = Vit(**fields).build(classes)
    return sum(parameter.numel() for parameter in model.parameters())


PUBLISHED = [
    ("tiny", 16, 224, 5_717_416),
    ("small", 16, 224, 22_050_664),
    ("small", 32, 224, 22_878_952),
    ("medium", 16, 224, 38_837_736),
    ("base", 8, 224, 86_576_872),
    ("base", 16, 224, 86_567_656),
    ("base", 32, 224, 88_224_232),
    ("base", 16, 384, 86_859_496),
    ("large", 16, 224, 304_326_632),
    ("large", 32, 224, 306_535_400),
    ("large", 16, 384, 304_715_752),
    ("huge", 14, 224, 632_045_800),
    ("huge", 14, 518, 633_470_440),
    ("so400m", 14, 224, 413_597_656),
    ("giant", 14, 224, 1_012_611_432),
    ("gigantic", 14, 224, 1_844_440_680),
]


@pytest.mark.parametrize(("size", "patch", "res", "parameters"), PUBLISHED)
def test_a_published_size_has_its_published_parameters(size: str, patch: int, res: int, parameters: int) -> None:
    assert count(size=size, patch=patch, res=res) == parameters


@pytest.mark.parametrize(
    ("size", "patch", "parameters"), [("base", 16, 103_186_515), ("large", 16, 326_740_307), ("huge", 14, 660_385_363)]
)
def test_the_head_of_pre_training_on_imagenet_21k_has_its_published_parameters(
    size: str, patch: int, parameters: int
) -> None:
    assert count(classes=21_843, size=size, patch=patch, head="mlp") == parameters


@pytest.mark.parametrize(("head", "parameters"), [("linear", 21_974_632), ("mlp", 22_122_472)])
def test_better_plain_vit_has_its_published_parameters(head: str, parameters: int) -> None:
    assert count(size="small", pool="gap", positions="sincos2d", head=head) == parameters


def test_base_without_its_head_has_its_published_parameters() -> None:
    assert count(classes=0, size="base") == 85_798_656


DINO2: dict[str, Any] = {"patch": 14, "res": 518, "layer_scale": 1e-5, "registers": 4, "cls_position": False}
DINO3: dict[str, Any] = {"patch": 16, "layer_scale": 1e-5, "registers": 4, "positions": "rope", "qkv_bias": False}
GIANT = {"size": "giant_opt", "heads": 24, "ffn": "swiglu"}
OF_TIMM = [
    ("vit_small_patch14_reg4_dinov2", {"size": "small", **DINO2}),
    ("vit_giant_patch14_reg4_dinov2", {**GIANT, **DINO2}),
    ("vit_small_patch16_dinov3", {"size": "small", **DINO3, "cls_token": True, "pool": "gap"}),
    ("vit_so400m_patch14_siglip_384", {"size": "so400m", "patch": 14, "res": 378, "pool": "map"}),
    ("deit3_medium_patch16_224", {"size": "medium", "layer_scale": 1e-6, "cls_position": False}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fields"), OF_TIMM, ids=[name for name, _ in OF_TIMM])
def test_models_of_other_families_have_as_many_parameters_as_timms(name: str, fields: dict[str, Any]) -> None:
    with torch.device("meta"):
        peer = timm.create_model(name, num_classes=10)
    assert count(classes=10, **fields) == sum(parameter.numel() for parameter in peer.parameters())


@pytest.mark.parametrize("pool", ["cls", "gap", "map"])
@pytest.mark.parametrize("positions", ["learned", "sincos2d", "none"])
@pytest.mark.parametrize("head_width", [None, 20])
def test_free_dimensions_have_the_parameters_of_the_formula(pool: str, positions: str, head_width: int | None) -> None:
    d, mlp, depth, classes = 24, 40, 3, 7
    patches = (12 // 4) * (20 // 4)
    attention, dense = 4 * (d * d + d), d * mlp + mlp + mlp * d + d
    embedding = 3 * 4 * 4 * d + d + (patches + (pool == "cls")) * d * (positions == "learned") + d * (pool == "cls")
    pooling = d + attention + 2 * d + dense if pool == "map" else 0
    hidden = head_width or d
    head = hidden * classes + classes + ((d * hidden + hidden) if head_width else 0)
    expected = embedding + depth * (attention + dense + 4 * d) + 2 * d + pooling + head
    fields = {
        "width": d,
        "depth": depth,
        "heads": 3,
        "mlp": mlp,
        "patch": 4,
        "res": (12, 20),
        "pool": pool,
        "positions": positions,
    }
    assert count(classes, **fields, head="mlp" if head_width else "linear", head_width=head_width) == expected


@pytest.mark.slow
def test_every_size_can_be_built_and_divides_into_its_heads() -> None:
    for name, size in SIZES.items():
        assert count(size=name, patch=14) > 0
        assert size.width % size.heads == 0
        assert size.width % 4 == 0, "sincos2d"


# Floating-point operations of an image at 224, in units of 10^9 ("Scaling Vision Transformers", table 2).
PUBLISHED_GFLOPS = [
    ("tiny", 16, 2.5),
    ("small", 16, 9.2),
    ("small", 32, 2.3),
    ("base", 16, 35.1),
    ("base", 32, 8.7),
    ("large", 16, 122.9),
    ("giant", 14, 533),
    ("gigantic", 14, 965),
]


@pytest.mark.parametrize(("size", "patch", "gflops"), PUBLISHED_GFLOPS)
def test_operations_are_near_the_published_ones(size: str, patch: int, gflops: float) -> None:
    with torch.device("meta"):
        model = Vit(size=size, patch=patch, pool="map").build(1000)
    assert model.flops() / 1e9 == pytest.approx(gflops, rel=0.05)

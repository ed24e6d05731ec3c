"""What models say about their parameters, for all models alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from vit_cli.models import Model

VIT: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "patch": 4, "res": 8}
BLOCK = {"blocks.0.attention.out": 1, "blocks.0.mlp.fc1": 1, "blocks.0.mlp.fc2": 1}
QKV = {"blocks.0.attention.qkv": 3}
TNT: dict[str, Any] = {"inner_width": 8, "inner_heads": 2, "width": 16, "heads": 2, "depth": 1, "patch": 4, "res": 8}
LEVELS = {
    f"blocks.0.{level}.{layer}": count
    for level in ("inner", "outer")
    for layer, count in (("attention.qk", 2), ("attention.v", 1), ("attention.out", 1), ("mlp.fc1", 1), ("mlp.fc2", 1))
}
POOL = {"pool.q": 1, "pool.kv": 2, "pool.out": 1, "pool.mlp.fc1": 1, "pool.mlp.fc2": 1}
CONVNEXT = {f"network.features.{stage}.0.block.{layer}": 1 for stage in (1, 3) for layer in (3, 5)}


@pytest.mark.parametrize(
    ("fields", "matrices"),
    [
        ({"name": "vit", **VIT, "head": "mlp", "registers": 2, "layer_scale": 0.1, "qk_norm": True}, BLOCK | QKV),
        ({"name": "vit", **VIT, "positions": "relative", "positions_at": "shared"}, BLOCK | QKV),
        ({"name": "vit", **VIT, "positions": "learned2d", "positions_at": "layers"}, BLOCK | QKV),
        ({"name": "vit", **VIT, "ffn": "swiglu"}, BLOCK | QKV | {"blocks.0.mlp.fc1": 2}),
        ({"name": "vit", **VIT, "pool": "map"}, BLOCK | QKV | POOL),
        ({"name": "deit", **VIT}, BLOCK | QKV),
        ({"name": "hybrid", **VIT, "backbone": "stem", "res": 32, "patch": 2}, BLOCK | QKV),
        ({"name": "cct", "size": "cct_2", "depth": 1, "res": 32}, BLOCK | QKV),
        ({"name": "tnt", **TNT}, LEVELS | {"blocks.0.fold.projection": 1}),
        ({"name": "convnext", "blocks": [1, 1], "width": 8, "res": 32}, CONVNEXT),
        ({"name": "resnet", "size": 18, "blocks": [1], "width": 4, "res": 8}, {}),
    ],
    ids=lambda value: value.get("name"),
)
def test_matrices_are_the_dense_kernels_between_embedding_and_head(
    fields: dict[str, Any], matrices: dict[str, int]
) -> None:
    model = TypeAdapter(Model).validate_json(json.dumps(fields)).build(5)
    found = {name: model.matrices(name, parameter) for name, parameter in model.named_parameters()}
    assert {name: count for name, count in found.items() if count} == {f"{k}.weight": n for k, n in matrices.items()}
    for name, parameter in model.named_parameters():
        assert len(parameter) % max(found[name], 1) == 0

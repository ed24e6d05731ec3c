"""Tiny models of every kind, moved away from their zeros so that every weight matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import write_model
from vit_cli.dist.world import World
from vit_cli.evaluate.saved import Ready, get_ready
from vit_cli.inspect.album import Album
from vit_cli.inspect.board import SINGLE
from vit_cli.inspect.parts import find_parts
from vit_cli.inspect.sight import Sight
from vit_cli.models import Model
from vit_cli.models.classifier import Classifier
from vit_cli.section import Grid, as_grid

VIT: dict[str, Any] = {"name": "vit", "width": 24, "depth": 2, "heads": 3, "mlp": 32, "patch": 4, "res": [12, 20]}
TNT: dict[str, Any] = {"name": "tnt", "inner_width": 8, "inner_heads": 2, "width": 24, "heads": 3, "depth": 2}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "cls": VIT,
    "gap": VIT | {"pool": "gap", "positions": "sincos2d"},
    "map": VIT | {"pool": "map", "positions": "learned2d", "positions_at": "layers"},
    "everything": VIT | {"pool": "cls_gap", "registers": 2, "qk_norm": True, "ffn": "swiglu", "layer_scale": 0.1},
    "relative": VIT | {"positions": "relative"},
    "relative shared": VIT | {"positions": "relative", "positions_at": "shared", "pool": "gap"},
    "rope": VIT | {"positions": "rope", "qkv_bias": False},
    "window": VIT | {"positions": "rope", "attention": "window", "window": 2},
    "axial": VIT | {"positions": "none", "attention": "axial"},
    "deit": VIT | {"name": "deit"},
    "tnt": TNT | {"patch": 4, "word": 2, "res": [12, 20]},
    "hybrid": VIT | {"name": "hybrid", "backbone": {"blocks": [], "width": 32}, "patch": 1},
    "cct": {"name": "cct", "width": 24, "depth": 2, "heads": 3, "res": [12, 20]},
    "cct cls": {
        "name": "cct",
        "width": 24,
        "depth": 2,
        "heads": 3,
        "res": [12, 20],
        "pool": "cls",
        "positions": "sincos",
    },
}
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "resnet": {"name": "resnet", "size": 18, "blocks": [1, 1], "width": 8, "res": [12, 20], "small_stem": True},
    "convnext": {"name": "convnext", "blocks": [1, 1], "width": 8, "res": [12, 20], "small_stem": True},
}
MODELS = TRANSFORMERS | CONVOLUTIONS
CLASSES = ["blue", "green", "red"]
ALONE = World(0, 1, torch.device("cpu"))


def make(kind: str, classes: int = len(CLASSES)) -> tuple[Model, Classifier]:
    """A section and its model, ready to be asked."""
    section: Model = TypeAdapter(Model).validate_json(json.dumps(MODELS[kind]))
    torch.manual_seed(0)
    model = section.build(classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return section, model


def build(kind: str) -> Classifier:
    return make(kind)[1]


def images(count: int = 2, res: tuple[int, int] = (12, 20)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


def write(folder: Path, kind: str, classes: list[str] = CLASSES) -> Path:
    """Write a model folder, which names no data."""
    section, model = make(kind, len(classes))
    about = {
        "model": section.model_dump(mode="json"),
        "res": list(as_grid(section.res)),
        "class_names": classes,
        "preprocess": Preprocess().model_dump(mode="json"),
        "data": None,
    }
    write_model(folder, model.state_dict(), about)
    return folder


def get(folder: Path, kind: str) -> Ready:
    return get_ready(write(folder, kind), ALONE)


def make_sight(ready: Ready, count: int = 12, width: int = SINGLE, layer: int | None = None) -> Sight:
    """A model that looks at noise of three classes."""
    res = Grid(*ready.res)
    pixels = torch.randint(256, (count, 3, *res), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    album = Album(
        pixels, [f"photos/{place}.png" for place in range(count)], [CLASSES[i % 3] for i in range(count)], "class"
    )
    return Sight("tiny: a model", ready, find_parts(ready.model), album, width, layer)

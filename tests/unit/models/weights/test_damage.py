"""Whatever tensors a file holds: weights that work, or one error of vit's, for every family that is recognised."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

from tests.unit.models.test_cct import build as build_cct
from tests.unit.models.test_cct import with_authors_names
from tests.unit.models.weights import test_facebook as facebook
from tests.unit.models.weights import test_google as google
from vit_cli.errors import VitError
from vit_cli.evaluate.open import open_weights

Weights = dict[str, Tensor]


def from_arrays(arrays: google.Arrays) -> Weights:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def torchvision_vit() -> Weights:
    return dict(VisionTransformer(32, 8, 2, 2, 128, 160, num_classes=3).state_dict())


FAMILIES: dict[str, Callable[[], Weights]] = {
    "google": lambda: from_arrays(google.generation_a()),
    "big_vision": lambda: from_arrays(google.stack(google.generation_b("map"))),
    "hybrid": lambda: from_arrays(google.hybrid((2, 1), patch=1)),
    "torchvision": torchvision_vit,
    "resnet": lambda: dict(ResNet(Bottleneck, [1, 1, 1, 1], num_classes=3, width_per_group=4).state_dict()),
    "convnext": lambda: dict(
        ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=3).state_dict()
    ),
    "cct": lambda: with_authors_names(build_cct(res=(16, 16), width=64, heads=1).state_dict()),
    "dino": facebook.network,
    "dinov2": lambda: facebook.network("w12", ("ls1.gamma", "ls2.gamma")) | {"mask_token": torch.zeros(1, 128)},
    "dinov3": lambda: facebook.dinov3("w1"),
}


def damage(weights: Weights, draw: random.Random) -> Weights:
    """Take one tensor away, rename it, or give it other dimensions."""
    name = draw.choice([*weights])
    tensor = weights[name]
    rest = {other: value for other, value in weights.items() if other != name}
    size = draw.choice([0, 1, 2, 3, 7])
    axis = draw.randrange(tensor.ndim) if tensor.ndim else 0
    shapes = [
        (),
        (size,),
        (*tensor.shape, size),
        tensor.shape[1:],
        (*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]),
    ]
    changed = torch.zeros(draw.choice(shapes))
    return draw.choice([rest, rest | {name: changed}, rest | {name: changed}, rest | {f"{name}x": tensor}])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_weights_are_refused_in_words(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    whole = FAMILIES[family]()
    torch.save(whole, tmp_path / "whole.pth")
    open_weights(tmp_path / "whole.pth", changes=["model.res=64"] if family == "dinov3" else [])
    draw = random.Random(0)
    for _ in range(60):
        torch.save(damage(whole, draw), tmp_path / "damaged.pth")
        with suppress(VitError):
            opened = open_weights(tmp_path / "damaged.pth")
            assert all(tensor.isfinite().all() for tensor in opened.weights.values())

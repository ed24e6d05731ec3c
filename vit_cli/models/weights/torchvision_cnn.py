"""torchvision's ResNets and ConvNeXts, whose names our baselines keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.convnext import CONVNEXT_SIZES, Convnext, ConvNextSize
from vit_cli.models.resnet import DEPTHS, Resnet
from vit_cli.models.weights.defaults import imagenet
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import count, take

RESIZED = {"tiny": 236, "small": 230, "base": 232, "large": 232}
"""To how many pixels torchvision brings the short side of an image before it takes the middle 224, by ConvNeXt's size."""


class TorchvisionResnet(Naming[Resnet]):
    """ResNet, ResNeXt and Wide ResNet."""

    name = "torchvision-resnet"
    title = "torchvision's ResNet"
    kinds = (Resnet,)

    def recognises(self, foreign: Foreign) -> bool:
        names = {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer1.0.bn1.running_mean"}
        return foreign.tensors.keys() >= names and not foreign.config

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors = foreign.tensors
        stem, inner = take(tensors, "conv1.weight", 4), take(tensors, "layer1.0.conv2.weight", 4)
        is_wide = "layer1.0.conv3.weight" in tensors  # a bottleneck, which widens by 4 in the end
        stages = count(tensors, "layer{i+1}.0.conv1.weight")
        blocks = tuple(count(tensors, f"layer{stage + 1}.{{i}}.conv1.weight") for stage in range(stages))
        alike = [size for size, depth in DEPTHS.items() if (depth.expansion == 4) == is_wide]
        size = next((size for size in alike if DEPTHS[size].blocks == blocks), alike[0])
        section = {"name": "resnet", "size": size, "width": len(stem), "small_stem": stem.shape[2] == 3}
        if DEPTHS[size].blocks != blocks:
            section["blocks"] = list(blocks)
        if is_wide:
            section |= {"groups": len(inner) // inner.shape[1], "group_width": inner.shape[1] * 64 // len(stem)}
        return section

    def classes(self, foreign: Foreign) -> int:
        return len(foreign.tensors["fc.weight"]) if "fc.weight" in foreign.tensors else 0

    def rules(self, section: Resnet) -> list[Rule]:  # noqa: ARG002
        block = "layer{l}.{b}."
        kernels = ["conv1.weight", block + "conv{n}.weight", block + "downsample.0.weight"]
        norms = [
            f"{norm}.{part}"
            for norm in ("bn1", block + "bn{n}", block + "downsample.1")
            for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ]
        return [*(rule(name, name) for name in (*kernels, *norms)), *layer("fc", "fc")]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:  # noqa: ARG002
        return imagenet(interpolation="bilinear")

    def arrange(self, tensors: Mapping[str, Tensor], section: Resnet) -> dict[str, Tensor]:  # noqa: ARG002
        """Add counters of batches, which files of torch before 0.4.1 lack and which nothing in evaluation needs."""
        norms = [name.removesuffix("running_var") for name in tensors if name.endswith(".running_var")]
        return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | dict(tensors)


class TorchvisionConvnext(Naming[Convnext]):
    """ConvNeXt."""

    name = "torchvision-convnext"
    title = "torchvision's ConvNeXt"
    kinds = (Convnext,)

    def recognises(self, foreign: Foreign) -> bool:
        return {"features.0.0.weight", "features.1.0.layer_scale"} <= foreign.tensors.keys()

    def section(self, foreign: Foreign) -> dict[str, Any]:
        stem = take(foreign.tensors, "features.0.0.weight", 4)
        size = read_size(foreign.tensors)
        section = {"name": "convnext", "small_stem": stem.shape[2] == 3}
        known = next((name for name, one in CONVNEXT_SIZES.items() if one == size), None)
        return section | ({"size": known} if known else {"blocks": list(size.blocks), "width": size.width})

    def classes(self, foreign: Foreign) -> int:
        name = "classifier.2.weight"
        return len(foreign.tensors[name]) if name in foreign.tensors else 0

    def rules(self, section: Convnext) -> list[Rule]:  # noqa: ARG002
        names = ["features.{s}.{b}", "features.{s}.{b}.block.{n}", "classifier.{n}"]
        scale = "features.{s}.{b}.layer_scale"
        return [rule(scale, f"network.{scale}"), *(pair for name in names for pair in layer(name, f"network.{name}"))]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        known = next((name for name, one in CONVNEXT_SIZES.items() if one == read_size(foreign.tensors)), "base")
        return imagenet(crop=224 / RESIZED[known], interpolation="bilinear")


def read_size(tensors: Mapping[str, Tensor]) -> ConvNextSize:
    """Read a ConvNeXt's blocks and width off its names; its stages have the odd numbers."""
    blocks: list[int] = []
    while f"features.{2 * len(blocks) + 1}.0.layer_scale" in tensors:
        blocks.append(count(tensors, f"features.{2 * len(blocks) + 1}.{{i}}.layer_scale"))
    if not blocks:
        raise CheckpointError("the weights lack features.1.0.layer_scale")
    return ConvNextSize(tuple(blocks), len(take(tensors, "features.0.0.weight", 4)))

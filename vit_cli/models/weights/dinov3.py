"""facebookresearch's DINOv3: rotary positions, four registers, keys without a bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.vit import Vit
from vit_cli.models.weights.convert import FUSE_TWO
from vit_cli.models.weights.defaults import imagenet
from vit_cli.models.weights.facebook import MARKS, block_rules, has_gamma, read_dimensions
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import take

PERIODS = "rope_embed.periods"


class Dinov3(Naming[Vit]):
    """DINOv3's ViT, which has no classes and no table of positions."""

    name = "dinov3"
    title = "facebookresearch's DINOv3"
    kinds = (Vit,)
    aside: ClassVar[Mapping[str, str]] = {
        "mask_token": "for the masked images of its training",
        PERIODS: "worked out from rope_base",
        "local_cls_norm.weight": "for the small crops of its training",
        "local_cls_norm.bias": "for the small crops of its training",
    }

    def recognises(self, foreign: Foreign) -> bool:
        names = foreign.tensors.keys()
        return names >= MARKS | {PERIODS} and not foreign.config

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors = foreign.tensors
        periods = take(tensors, PERIODS, 1)
        width = take(tensors, "patch_embed.proj.weight", 4).shape[0]
        heads = width // (4 * len(periods))
        if width != heads * 4 * len(periods):
            raise CheckpointError(f"the {len(periods)} numbers of {PERIODS} do not fit tokens {width} wide")
        section = read_dimensions(tensors, heads)
        registers = take(tensors, "storage_tokens", 3).shape[1] if "storage_tokens" in tensors else 0
        return section | {
            "res": 16 * section["patch"],  # the largest of its training is 256 pixels for patches of 16
            "pool": "cls",
            "positions": "rope",
            "rope_base": read_base(periods),
            "registers": registers,
            "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
            "norm_eps": 1e-5,
            "gelu": "exact",
            **({"layer_scale": 1e-5} if has_gamma(tensors) else {}),
        }

    def classes(self, foreign: Foreign) -> int:  # noqa: ARG002
        return 0

    def rules(self, section: Vit) -> list[Rule]:  # noqa: ARG002
        gate = [[f"blocks.{{i}}.mlp.{name}.{part}" for name in ("w1", "w2")] for part in ("weight", "bias")]
        return [
            *block_rules(),
            rule("storage_tokens", "registers"),
            rule(gate[0], "blocks.{i}.mlp.fc1.weight", FUSE_TWO),
            rule(gate[1], "blocks.{i}.mlp.fc1.bias", FUSE_TWO),
            *layer("blocks.{i}.mlp.w3", "blocks.{i}.mlp.fc2"),
            rule("blocks.{i}.ls1.gamma", "blocks.{i}.scale1.gamma"),
            rule("blocks.{i}.ls2.gamma", "blocks.{i}.scale2.gamma"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:  # noqa: ARG002
        return imagenet(crop=1.0) | {"resize": "squash"}

    def arrange(self, tensors: Mapping[str, Tensor], section: Vit) -> dict[str, Tensor]:  # noqa: ARG002
        return apply_masks(tensors)


def apply_masks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply each bias by the mask beside it, which takes the part of the keys away."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(".bias_mask")}
    for name in tensors.keys() - kept.keys():
        bias = name.removesuffix("_mask")
        if bias not in kept or kept[bias].shape != tensors[name].shape:
            raise CheckpointError(f"the weights {name} mask no {bias} of their shape")
        kept[bias] = torch.where(tensors[name] == 0, 0, kept[bias] * tensors[name])
    return kept


def read_base(periods: Tensor) -> float:
    """Give the number whose powers the periods are: base ** (i / count) for i below count; 100 for a single one.

    They are published in bfloat16, whose error of 0.4 % goes with three digits.
    """
    count = len(periods)
    if count == 1:
        return 100.0
    base = float(periods[-1]) ** (count / (count - 1))
    return float(f"{base:.2g}") if base > 1 else 100.0

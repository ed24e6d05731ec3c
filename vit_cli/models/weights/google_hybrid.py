"""Google's hybrids: a ResNet in flax's names before the transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vit_cli.models.backbone import BACKBONES, Backbone
from vit_cli.models.hybrid import Hybrid
from vit_cli.models.vit import Vit
from vit_cli.models.weights.google import FLAX_CONVOLUTION, GoogleVit, norm
from vit_cli.models.weights.naming import Foreign, Rule, rule
from vit_cli.models.weights.shapes import count, take

UNIT, OUR_UNIT = "block{s+1}/unit{u+1}/", "embedding.backbone.stages.{s}.{u}."
ROOT = "embedding.backbone.root."


class GoogleHybrid(GoogleVit):
    """vit_jax's `models_resnet.py` before its ViT; a hybrid of the stem alone has no blocks."""

    name = "google-hybrid"
    title = "Google's hybrid"
    kinds = (Hybrid,)

    def recognises(self, foreign: Foreign) -> bool:
        return "conv_root/kernel" in foreign.tensors and super().recognises(foreign)

    def section(self, foreign: Foreign) -> dict[str, Any]:
        backbone = read_backbone(foreign.tensors)
        known = next((name for name, section in BACKBONES.items() if section == backbone), None)
        return super().section(foreign) | {
            "name": "hybrid",
            "backbone": known or backbone.model_dump(mode="json"),
            "convention": "flax",
        }

    def pixels(self, tensors: Mapping[str, Tensor]) -> int:
        return super().pixels(tensors) * read_backbone(tensors).stride

    def rules(self, section: Vit) -> list[Rule]:
        rules = [rule("conv_root/kernel", ROOT + "conv.weight", FLAX_CONVOLUTION), *norm("gn_root", ROOT + "norm")]
        for n in (1, 2, 3):
            rules.append(rule(f"{UNIT}conv{n}/kernel", f"{OUR_UNIT}conv{n}.weight", FLAX_CONVOLUTION))
            rules += norm(f"{UNIT}gn{n}", f"{OUR_UNIT}norm{n}")
        rules.append(rule(UNIT + "conv_proj/kernel", OUR_UNIT + "shortcut.conv.weight", FLAX_CONVOLUTION))
        return [*rules, *norm(UNIT + "gn_proj", OUR_UNIT + "shortcut.norm"), *super().rules(section)]


def read_backbone(tensors: Mapping[str, Tensor]) -> Backbone:
    """Read a backbone off the names: its units per stage, counted from 1 there, and the channels of its root."""
    width = take(tensors, "conv_root/kernel", 4).shape[3]
    has_blocks = any(name.startswith("block1/") for name in tensors)
    stages = count(tensors, "block{i+1}/unit1/conv1/kernel") if has_blocks else 0
    units = [count(tensors, f"block{s + 1}/unit{{i+1}}/conv1/kernel") for s in range(stages)]
    return Backbone(blocks=tuple(units), width=width)

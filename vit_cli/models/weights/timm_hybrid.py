"""timm's hybrids: a ResNet with standardised kernels before a Vision Transformer."""

from __future__ import annotations

from typing import Any

from vit_cli.models.backbone import BACKBONES, Backbone
from vit_cli.models.hybrid import Hybrid
from vit_cli.models.vit_fields import VitFields
from vit_cli.models.weights.convert import Conversion, each, roll_kernel, unroll_kernel
from vit_cli.models.weights.defaults import half
from vit_cli.models.weights.naming import Foreign, Rule, layer, rule
from vit_cli.models.weights.shapes import count, take
from vit_cli.models.weights.timm_config import preprocess
from vit_cli.models.weights.timm_vit import TimmVit

START, STAGES = "patch_embed.backbone.", "patch_embed.backbone.stages."
UNIT, OUR_UNIT = STAGES + "{s}.blocks.{u}.", "embedding.backbone.stages.{s}.{u}."
ROOTS = ("stem.", "")
"""Where the root's layers are: in a stem before the stages, or, with no stage, bare."""


class TimmHybrid(TimmVit):
    """The names of timm's `vit_*_r*` models; their small constants are timm's own, too."""

    name = "timm-hybrid"
    title = "timm's hybrid"
    kinds = (Hybrid,)

    def recognises(self, foreign: Foreign) -> bool:
        return any(f"{START}{root}conv.weight" in foreign.tensors for root in ROOTS)

    def section(self, foreign: Foreign) -> dict[str, Any]:
        backbone = read_backbone(foreign)
        known = next((name for name, section in BACKBONES.items() if section == backbone), None)
        return super().section(foreign) | {
            "name": "hybrid",
            "backbone": known or backbone.model_dump(mode="json"),
            "convention": "timm",
        }

    def pixels(self, foreign: Foreign) -> int:
        return super().pixels(foreign) * read_backbone(foreign).stride

    def rules(self, section: VitFields) -> list[Rule]:
        roots = ROOTS if not isinstance(section, Hybrid) or section.resnet.blocks else reversed(ROOTS)
        rules = [rule("patch_embed.proj.weight", "embedding.projection.weight", cells(section))]
        for root in roots:
            rules.append(rule(f"{START}{root}conv.weight", "embedding.backbone.root.conv.weight"))
            rules += layer(f"{START}{root}norm", "embedding.backbone.root.norm")
        for n in (1, 2, 3):
            rules.append(rule(f"{UNIT}conv{n}.weight", f"{OUR_UNIT}conv{n}.weight"))
            rules += layer(f"{UNIT}norm{n}", f"{OUR_UNIT}norm{n}")
        rules.append(rule(f"{UNIT}downsample.conv.weight", f"{OUR_UNIT}shortcut.conv.weight"))
        return [*rules, *layer(f"{UNIT}downsample.norm", f"{OUR_UNIT}shortcut.norm"), *super().rules(section)]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        return preprocess(foreign, half(crop=0.9))


def cells(section: VitFields) -> Conversion:
    """Convert the kernel (d, c, p, p) over a feature map with as many channels as the backbone gives."""
    channels = 1
    if isinstance(section, Hybrid):
        blocks = section.resnet.blocks
        channels = section.resnet.width * (4 * 2 ** (len(blocks) - 1) if blocks else 1)
    return each(unroll_kernel, lambda matrix: roll_kernel(matrix, channels))


def read_backbone(foreign: Foreign) -> Backbone:
    """Read a backbone off the names: its units per stage, and the channels of its root."""
    root = next(name for name in ROOTS if f"{START}{name}conv.weight" in foreign.tensors)
    width = len(take(foreign.tensors, f"{START}{root}conv.weight", 4))
    has_stages = any(name.startswith(STAGES) for name in foreign.tensors)
    stages = count(foreign.tensors, STAGES + "{i}.blocks.0.conv1.weight") if has_stages else 0
    units = [count(foreign.tensors, f"{STAGES}{s}.blocks.{{i}}.conv1.weight") for s in range(stages)]
    return Backbone(blocks=tuple(units), width=width)

"""torchvision's Vision Transformer."""

from __future__ import annotations

from typing import Any

from vit_cli.models.positions import Stretch
from vit_cli.models.vit import Vit
from vit_cli.models.weights.convert import PATCHES, split
from vit_cli.models.weights.defaults import imagenet
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import count, dimensions, side_of, take

BLOCK = "encoder.layers.encoder_layer_{i}."
TABLE = "encoder.pos_embedding"


class TorchvisionVit(Naming[Vit]):
    """torchvision's names, with the MLP's of today and of the first release."""

    name = "torchvision"
    title = "torchvision's ViT"
    kinds = (Vit,)
    stretch = Stretch(mode="bicubic", align_corners=True)

    def recognises(self, foreign: Foreign) -> bool:
        return TABLE in foreign.tensors and "conv_proj.weight" in foreign.tensors

    def section(self, foreign: Foreign) -> dict[str, Any]:
        kernel = take(foreign.tensors, "conv_proj.weight", 4)
        first = BLOCK.format(i=0) + "mlp."
        hidden = first + ("linear_1.weight" if first + "linear_1.weight" in foreign.tensors else "0.weight")
        mlp = take(foreign.tensors, hidden, 2).shape[0]
        side = side_of(take(foreign.tensors, TABLE, 3).shape[1] - 1, TABLE)
        section = {
            "name": "vit",
            **dimensions(kernel.shape[0], count(foreign.tensors, BLOCK + "ln_1.weight"), mlp),
            "patch": kernel.shape[2],
            "res": side * kernel.shape[2],
            "pool": "cls",
            "positions": "learned",
            "norm_eps": 1e-6,
            "gelu": "exact",
        }
        if "heads.pre_logits.weight" in foreign.tensors:
            width = take(foreign.tensors, "heads.pre_logits.weight", 2).shape[0]
            section |= {"head": "mlp", "head_width": width, "head_activation": "tanh"}
        return section

    def classes(self, foreign: Foreign) -> int:
        return foreign.tensors["heads.head.bias"].numel() if "heads.head.bias" in foreign.tensors else 0

    def rules(self, section: Vit) -> list[Rule]:
        attention = BLOCK + "self_attention."
        return [
            rule("class_token", "cls"),
            *layer("conv_proj", "embedding.projection", PATCHES),
            rule(TABLE, ["positions.prefix", "positions.table"], split(1)),
            *layer(BLOCK + "ln_1", "blocks.{i}.norm1"),
            rule(attention + "in_proj_weight", "blocks.{i}.attention.qkv.weight"),
            rule(attention + "in_proj_bias", "blocks.{i}.attention.qkv.bias"),
            *layer(attention + "out_proj", "blocks.{i}.attention.out"),
            *layer(BLOCK + "ln_2", "blocks.{i}.norm2"),
            *layer(BLOCK + "mlp.0", "blocks.{i}.mlp.fc1"),
            *layer(BLOCK + "mlp.3", "blocks.{i}.mlp.fc2"),
            *layer(BLOCK + "mlp.linear_1", "blocks.{i}.mlp.fc1"),
            *layer(BLOCK + "mlp.linear_2", "blocks.{i}.mlp.fc2"),
            *layer("encoder.ln", "norm"),
            *layer("heads.pre_logits", "head.hidden"),
            *layer("heads.head", "head.classes" if section.head == "mlp" else "head"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:  # noqa: ARG002
        return imagenet(interpolation="bilinear")

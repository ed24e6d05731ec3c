"""Hugging Face's DINOv3: rotary positions, registers, keys without a bias, no head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.vit import Vit
from vit_cli.models.weights.convert import FUSE, FUSE_TWO, PATCHES
from vit_cli.models.weights.defaults import imagenet
from vit_cli.models.weights.hf_config import activation, preprocess
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import count, dimensions, take
from vit_cli.models.weights.told import read_count, read_number, read_size

BLOCK = "layer.{i}."
IN_MEMORY = "model."
"""What stands before a block's names in transformers 5, but in no file."""
EMPTY = torch.empty(0)
KERNEL, REGISTERS = "embeddings.patch_embeddings.weight", "embeddings.register_tokens"


class HfDinov3(Naming[Vit]):
    """`DINOv3ViTModel`."""

    name = "hf-dinov3"
    title = "Hugging Face's DINOv3"
    kinds = (Vit,)
    aside: ClassVar[Mapping[str, str]] = {"embeddings.mask_token": "for the masked images of its training"}

    def recognises(self, foreign: Foreign) -> bool:
        names = bare(foreign.tensors)
        return {KERNEL, "layer.0.layer_scale1.lambda1", "layer.0.attention.q_proj.weight"} <= names.keys()

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors, config = bare(foreign.tensors), foreign.config
        kernel = take(tensors, KERNEL, 4)
        hidden = take(tensors, "layer.0.mlp.up_proj.weight", 2).shape[0]
        depth, heads = count(tensors, BLOCK + "norm1.weight"), read_count(config, "num_attention_heads")
        size = read_size(config.get("image_size"))
        is_gated = "layer.0.mlp.gate_proj.weight" in tensors
        if is_gated and config.get("hidden_act", "silu") != "silu":
            raise CheckpointError(
                f"config.json: hidden_act of a gated MLP is {config['hidden_act']!r:.40}, expected 'silu'"
            )
        return {
            "name": "vit",
            **dimensions(kernel.shape[0], depth, hidden, heads),
            **({"mlp": hidden, "ffn": "swiglu"} if is_gated else {}),
            "patch": kernel.shape[2],
            **({"res": list(size)} if size else {}),
            "pool": "cls",
            "positions": "rope",
            "rope_base": read_number(config, "rope_theta", 100.0),
            "registers": tensors[REGISTERS].shape[1] if tensors.get(REGISTERS, EMPTY).ndim == 3 else 0,
            "qkv_bias": "layer.0.attention.q_proj.bias" in tensors,
            "layer_scale": read_number(config, "layerscale_value", 1.0),
            "norm_eps": read_number(config, "layer_norm_eps", 1e-5),
            "gelu": "exact" if is_gated else activation(config),
        }

    def classes(self, foreign: Foreign) -> int:  # noqa: ARG002
        return 0

    def rules(self, section: Vit) -> list[Rule]:
        kinds = ("weight", "bias")
        qkv = [[f"{BLOCK}attention.{part}_proj.{kind}" for part in "qkv"] for kind in kinds]
        gate = [[f"{BLOCK}mlp.{part}_proj.{kind}" for part in ("gate", "up")] for kind in kinds]
        is_gated = section.ffn == "swiglu"
        return [
            rule("embeddings.cls_token", "cls"),
            rule(REGISTERS, "registers"),
            *layer("embeddings.patch_embeddings", "embedding.projection", PATCHES),
            *(rule(names, f"blocks.{{i}}.attention.qkv.{kind}", FUSE) for names, kind in zip(qkv, kinds, strict=True)),
            *layer(BLOCK + "attention.o_proj", "blocks.{i}.attention.out"),
            *(found for n in (1, 2) for found in layer(f"{BLOCK}norm{n}", f"blocks.{{i}}.norm{n}")),
            *(rule(f"{BLOCK}layer_scale{n}.lambda1", f"blocks.{{i}}.scale{n}.gamma") for n in (1, 2)),
            *(
                [rule(names, f"blocks.{{i}}.mlp.fc1.{k}", FUSE_TWO) for names, k in zip(gate, kinds, strict=True)]
                if is_gated
                else layer(BLOCK + "mlp.up_proj", "blocks.{i}.mlp.fc1")
            ),
            *layer(BLOCK + "mlp.down_proj", "blocks.{i}.mlp.fc2"),
            *layer("norm", "norm"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        return preprocess(foreign, imagenet(crop=1.0) | {"resize": "squash"})

    def arrange(self, tensors: Mapping[str, Tensor], section: Vit) -> dict[str, Tensor]:
        """Give keys a bias of zero, as they have none; no registers are no tensor."""
        arranged = bare(tensors)
        if not section.registers:
            arranged.pop(REGISTERS, None)
        for i in range(section.dimensions.depth):
            query, key = (f"layer.{i}.attention.{part}_proj.bias" for part in "qk")
            if query in arranged and key not in arranged:
                arranged[key] = torch.zeros_like(arranged[query])
        return arranged


def bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give blocks the names that they have in files."""
    return {name.removeprefix(IN_MEMORY): tensor for name, tensor in tensors.items()}

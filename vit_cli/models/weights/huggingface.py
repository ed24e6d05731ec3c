"""Hugging Face's ViT, DeiT and DINOv2, in the names of their published folders and of transformers 5 in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vit_cli.models.deit import Deit
from vit_cli.models.positions import Stretch
from vit_cli.models.vit import Vit
from vit_cli.models.vit_fields import VitFields
from vit_cli.models.weights.convert import FUSE, FUSE_TWO, PATCHES, split
from vit_cli.models.weights.defaults import half, imagenet
from vit_cli.models.weights.hf_config import activation, preprocess
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import count, dimensions, take
from vit_cli.models.weights.told import read_count, read_number, read_size, tell_res

KERNEL = "embeddings.patch_embeddings.projection.weight"
TABLE = "embeddings.position_embeddings"
DISTILLATION = "embeddings.distillation_token"
HEADS = ("classifier", "cls_classifier", "distillation_classifier")
BASES = ("vit.", "deit.", "dinov2.", "dinov2_with_registers.")
BLOCKS = ("encoder.layer.{i}.", "layers.{i}.")
"""How a block is called in files, and in ViT and DeiT of transformers 5."""
POOLER = {f"pooler.dense.{kind}": "classifiers do without it" for kind in ("weight", "bias")}
MASK = {"embeddings.mask_token": "for masked images"}


def bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the model's name off the tensors' names: a model without a head has none."""
    return {
        next((name[len(base) :] for base in BASES if name.startswith(base)), name): t for name, t in tensors.items()
    }


def block(name: str) -> list[str]:
    """Give the names of a part of a block."""
    return [start + name for start in BLOCKS]


def attention() -> list[Rule]:
    """Pair attention's layers."""
    rules = []
    for start in BLOCKS:
        for parts in (
            [f"{start}attention.attention.{part}" for part in ("query", "key", "value")],
            [f"{start}attention.{part}_proj" for part in "qkv"],
        ):
            rules += [
                rule([f"{part}.{kind}" for part in parts], f"blocks.{{i}}.attention.qkv.{kind}", FUSE)
                for kind in ("weight", "bias")
            ]
        for name in ("attention.output.dense", "attention.o_proj"):
            rules += layer(start + name, "blocks.{i}.attention.out")
    return rules


def shared_rules(prefix: int) -> list[Rule]:
    """Pair what all these models have; `prefix` tokens have a position."""
    return [
        rule("embeddings.cls_token", "cls"),
        rule(TABLE, ["positions.prefix", "positions.table"], split(prefix)),
        *layer("embeddings.patch_embeddings.projection", "embedding.projection", PATCHES),
        *attention(),
        *layer("layernorm", "norm"),
    ]


class HfVit(Naming[VitFields]):
    """`ViTForImageClassification`, and `DeiTForImageClassification` with a teacher or without one.

    A DeiT whose distillation token has no classifier is a ViT with one register that has a position.
    """

    name = "hf"
    title = "Hugging Face's ViT"
    kinds = (Vit, Deit)
    aside = POOLER | MASK

    def recognises(self, foreign: Foreign) -> bool:
        names = bare(foreign.tensors).keys()
        return TABLE in names and any(name.format(i=0) in names for name in block("layernorm_before.weight"))

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors, config = bare(foreign.tensors), foreign.config
        kernel = take(tensors, KERNEL, 4)
        first = next(name for name in block("layernorm_before.weight") if name.format(i=0) in tensors)
        mlp = next((n.format(i=0) for n in MLP_IN if n.format(i=0) in tensors), MLP_IN[0].format(i=0))
        has_distillation = DISTILLATION in tensors
        patches = take(tensors, TABLE, 3).shape[1] - 1 - has_distillation
        section = {
            **dimensions(
                kernel.shape[0],
                count(tensors, first),
                len(take(tensors, mlp, 2)),
                read_count(config, "num_attention_heads"),
            ),
            "patch": kernel.shape[2],
            **tell_res(read_size(config.get("image_size")), kernel.shape[2], patches, TABLE),
            "positions": "learned",
            "norm_eps": read_number(config, "layer_norm_eps", 1e-12),
            "gelu": activation(config),
        }
        if has_distillation and "distillation_classifier.weight" in tensors:
            return {"name": "deit", **section}
        qkv_bias = any(name.endswith((".query.bias", ".q_proj.bias")) for name in tensors)
        return {"name": "vit", **section, "pool": "cls", "registers": int(has_distillation), "qkv_bias": qkv_bias}

    def entitle(self, foreign: Foreign) -> str:
        return "Hugging Face's DeiT" if foreign.config.get("model_type") == "deit" else self.title

    def classes(self, foreign: Foreign) -> int:
        return next(
            (len(take(foreign.tensors, f"{n}.weight", 2)) for n in HEADS if f"{n}.weight" in foreign.tensors), 0
        )

    def rules(self, section: VitFields) -> list[Rule]:
        is_deit = section.extra_tokens > 0
        rules = shared_rules(1 + section.extra_tokens)
        rules.append(rule(DISTILLATION, "dist" if is_deit else "registers"))
        for start in BLOCKS:
            rules += layer(start + "layernorm_before", "blocks.{i}.norm1")
            rules += layer(start + "layernorm_after", "blocks.{i}.norm2")
        for name in MLP_IN:
            rules += layer(name.removesuffix(".weight"), "blocks.{i}.mlp.fc1")
        for name in MLP_OUT:
            rules += layer(name.removesuffix(".weight"), "blocks.{i}.mlp.fc2")
        heads = [("cls_classifier", "head"), ("distillation_classifier", "head_dist")]
        return rules + [found for pair in (heads if is_deit else [("classifier", "head")]) for found in layer(*pair)]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        is_deit = DISTILLATION in bare(foreign.tensors)
        return preprocess(foreign, imagenet() if is_deit else half(interpolation="bilinear", resize="squash"))

    def arrange(self, tensors: Mapping[str, Tensor], section: VitFields) -> dict[str, Tensor]:
        """Take the model's name off; a register takes its position along."""
        arranged = bare(tensors)
        if section.registers and {DISTILLATION, TABLE} <= arranged.keys():
            table = arranged[TABLE]
            arranged[DISTILLATION] = arranged[DISTILLATION] + table[:, 1:2]
            arranged[TABLE] = torch.cat([table[:, :1], table[:, 2:]], dim=1)
        return arranged

    def restore(self, tensors: Mapping[str, Tensor], section: VitFields) -> dict[str, Tensor]:
        """Put the model's name on; a register gets a position of zero."""
        restored = dict(tensors)
        if section.registers and {DISTILLATION, TABLE} <= restored.keys():
            table = restored[TABLE]
            restored[TABLE] = torch.cat([table[:, :1], torch.zeros_like(table[:, :1]), table[:, 1:]], dim=1)
        return clothe(restored, "deit." if DISTILLATION in restored else "vit.")


MLP_IN = [*block("intermediate.dense.weight"), *block("mlp.fc1.weight")]
MLP_OUT = [*block("output.dense.weight"), *block("mlp.fc2.weight")]


class HfDino(Naming[VitFields]):
    """`Dinov2ForImageClassification` and `Dinov2WithRegistersForImageClassification`, whose heads see two tokens."""

    name = "hf-dinov2"
    title = "Hugging Face's DINOv2"
    kinds = (Vit,)
    aside = MASK

    def recognises(self, foreign: Foreign) -> bool:
        names = bare(foreign.tensors).keys()
        return TABLE in names and "encoder.layer.0.layer_scale1.lambda1" in names

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors, config = bare(foreign.tensors), foreign.config
        kernel = take(tensors, KERNEL, 4)
        gated = next((name for name in GATES if name in tensors), None)
        mlp = "encoder.layer.0.mlp.fc1.weight" if gated is None else gated
        hidden = len(take(tensors, mlp, 2)) // (2 if gated == GATES[0] else 1)
        depth = count(tensors, "encoder.layer.{i}.norm1.weight")
        patches = take(tensors, TABLE, 3).shape[1] - 1
        return {
            "name": "vit",
            **dimensions(kernel.shape[0], depth, hidden, read_count(config, "num_attention_heads")),
            **({} if gated is None else {"mlp": hidden, "ffn": "swiglu"}),
            "patch": kernel.shape[2],
            **tell_res(read_size(config.get("image_size")), kernel.shape[2], patches, TABLE),
            "positions": "learned",
            "registers": take(tensors, REGISTERS, 3).shape[1] if REGISTERS in tensors else 0,
            "layer_scale": read_number(config, "layerscale_value", 1.0),
            "qkv_bias": any(name.endswith((".query.bias", ".q_proj.bias")) for name in tensors),
            "pool": "cls_gap" if "classifier.weight" in tensors else "cls",
            "norm_eps": read_number(config, "layer_norm_eps", 1e-6),
            "gelu": activation(config),
        }

    def stretching(self, foreign: Foreign) -> Stretch:
        return Stretch(antialias=REGISTERS in bare(foreign.tensors))

    def classes(self, foreign: Foreign) -> int:
        return len(take(foreign.tensors, "classifier.weight", 2)) if "classifier.weight" in foreign.tensors else 0

    def rules(self, section: VitFields) -> list[Rule]:
        start = BLOCKS[0]
        return [
            *shared_rules(1),
            rule(REGISTERS, "registers"),
            *(found for n in (1, 2) for found in layer(f"{start}norm{n}", f"blocks.{{i}}.norm{n}")),
            *(rule(f"{start}layer_scale{n}.lambda1", f"blocks.{{i}}.scale{n}.gamma") for n in (1, 2)),
            *layer(start + "mlp.fc1" if section.ffn == "mlp" else start + "mlp.weights_in", "blocks.{i}.mlp.fc1"),
            *layer(start + "mlp.fc2" if section.ffn == "mlp" else start + "mlp.weights_out", "blocks.{i}.mlp.fc2"),
            *(
                rule([f"{start}mlp.{n}_proj.{kind}" for n in ("gate", "up")], f"blocks.{{i}}.mlp.fc1.{kind}", FUSE_TWO)
                for kind in ("weight", "bias")
            ),
            *layer(start + "mlp.down_proj", "blocks.{i}.mlp.fc2"),
            *layer("classifier", "head"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        return preprocess(foreign, imagenet())

    def arrange(self, tensors: Mapping[str, Tensor], section: VitFields) -> dict[str, Tensor]:  # noqa: ARG002
        """Take the model's name off."""
        return bare(tensors)

    def restore(self, tensors: Mapping[str, Tensor], section: VitFields) -> dict[str, Tensor]:
        """Put the model's name on; masked images, which nobody has, would have a token of zeros."""
        mask = {"embeddings.mask_token": torch.zeros(1, section.dimensions.width)}
        return clothe(mask | dict(tensors), "dinov2_with_registers." if section.registers else "dinov2.")


REGISTERS = "embeddings.register_tokens"
GATES = ("encoder.layer.0.mlp.weights_in.weight", "encoder.layer.0.mlp.gate_proj.weight")
"""Gate and values in one tensor, as in files, or in two, as transformers 5 has them in memory."""


def clothe(tensors: Mapping[str, Tensor], base: str) -> dict[str, Tensor]:
    """Put the model's name before all names but the heads'."""
    return {name if name.startswith(HEADS) else base + name: tensor for name, tensor in tensors.items()}

"""The compact transformers' authors' names (SHI-Labs, Compact-Transformers): CCT, CVT and ViT-Lite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vit_cli.models.cct import CCT_SIZES, Cct
from vit_cli.models.cct_layers import sincos
from vit_cli.models.weights.convert import split
from vit_cli.models.weights.defaults import imagenet, prepare
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import HEAD_WIDTH, count, side_of, take

TABLE = "classifier.positional_emb"
BLOCK = "classifier.blocks.{i}."
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100 = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
SMALL = 64
"""Pixels on a side of an image that is rather CIFAR's than ImageNet's."""


class Compact(Naming[Cct]):
    """A tokenizer, whose convolutions have a bias only where they cut patches, and a transformer."""

    name = "cct"
    title = "SHI-Labs' compact transformer"
    kinds = (Cct,)

    def recognises(self, foreign: Foreign) -> bool:
        names = {"tokenizer.conv_layers.0.0.weight", "classifier.blocks.0.self_attn.qkv.weight"}
        return names <= foreign.tensors.keys()

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors = foreign.tensors
        hidden = take(tensors, BLOCK.format(i=0) + "linear1.weight", 2)
        width, depth = hidden.shape[1], count(tensors, BLOCK + "linear1.weight")
        size = next((name for name, size in CCT_SIZES.items() if size[:3] == (width, depth, len(hidden))), None)
        heads = max(1, width // HEAD_WIDTH)
        section = {
            "name": "cct",
            **({"size": size} if size else {"width": width, "depth": depth, "mlp": len(hidden), "heads": heads}),
            "kernel": take(tensors, "tokenizer.conv_layers.0.0.weight", 4).shape[2],
            "pool": "cls" if "classifier.class_emb" in tensors else "seq",
        }
        if "tokenizer.conv_layers.0.0.bias" in tensors:
            section["tokenizer"] = "patch"
        else:
            section["convolutions"] = count(tensors, "tokenizer.conv_layers.{i}.0.weight")
        return section | tell_positions(tensors, section)

    def classes(self, foreign: Foreign) -> int:
        return len(foreign.tensors["classifier.fc.bias"]) if "classifier.fc.bias" in foreign.tensors else 0

    def rules(self, section: Cct) -> list[Rule]:
        has_row = section.pool == "cls"
        table = ["positions.prefix", "positions.table"] if has_row else "positions.table"
        return [
            *layer("tokenizer.conv_layers.{i}.0", "embedding.convolutions.{i}"),
            rule("classifier.class_emb", "cls"),
            rule(TABLE, table, split(int(has_row))) if has_row else rule(TABLE, table),
            *layer(BLOCK + "pre_norm", "blocks.{i}.norm1"),
            *layer(BLOCK + "self_attn.qkv", "blocks.{i}.attention.qkv"),
            *layer(BLOCK + "self_attn.proj", "blocks.{i}.attention.out"),
            *layer(BLOCK + "norm1", "blocks.{i}.norm2"),
            *layer(BLOCK + "linear1", "blocks.{i}.mlp.fc1"),
            *layer(BLOCK + "linear2", "blocks.{i}.mlp.fc2"),
            *layer("classifier.norm", "norm"),
            *layer("classifier.attention_pool", "pool.score"),
            *layer("classifier.fc", "head"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        res = self.section(foreign).get("res", 0)
        if res > SMALL:
            return imagenet(crop=0.9)
        mean, std = CIFAR100 if self.classes(foreign) == 100 else CIFAR10
        return prepare(mean, std, crop=1.0, interpolation="bicubic")

    def unused(self, section: Cct) -> Mapping[str, str]:
        return {TABLE: "sines, which are worked out"} if section.positions == "sincos" else {}


def tell_positions(tensors: Mapping[str, Tensor], section: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the positions, and the resolution that gives as many tokens as they are for."""
    if TABLE not in tensors:
        return {"positions": "none"}
    table = take(tensors, TABLE, 3)
    tokens = table.shape[1] - (section["pool"] == "cls")
    form = Cct.model_validate({**section, "res": 1024 * section["kernel"]}).form
    pixels = form.stride**form.number * (2**form.number if form.max_pool else 1)
    is_fixed = table.shape == sincos(*table.shape[1:]).shape and torch.allclose(
        table, sincos(*table.shape[1:]), atol=1e-5
    )
    return {"positions": "sincos" if is_fixed else "learned", "res": side_of(tokens, TABLE) * pixels}

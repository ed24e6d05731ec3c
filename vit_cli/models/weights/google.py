"""Google's ViT: vit_jax's npz files (the original and AugReg) and big_vision's, whose names differ a little."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vit_cli.models.positions import Stretch
from vit_cli.models.vit import Vit
from vit_cli.models.weights.convert import TRANSPOSE, one_way, split, transpose, unroll_kernel
from vit_cli.models.weights.defaults import half
from vit_cli.models.weights.naming import Foreign, Naming, Rule, rule
from vit_cli.models.weights.shapes import count, dimensions, side_of, take
from vit_cli.section import Section

BLOCK = "Transformer/encoderblock_{i}/"
TABLE, BARE_TABLE = "Transformer/posembed_input/pos_embedding", "pos_embedding"
STACKED = "Transformer/encoderblock/"
LATER = {
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "LayerNorm_1": "LayerNorm_2",
    "MlpBlock_0": "MlpBlock_3",
}
"""What big_vision calls the parts of a block, and what vit_jax does."""


def fuse_kernels(kernels: Sequence[Tensor]) -> list[Tensor]:
    """Kernels (d, h, e) of queries, keys, values -> (their number * h * e, d)."""
    return [torch.cat([transpose(kernel.flatten(1)) for kernel in kernels])]


FLAX_KERNELS = one_way(fuse_kernels)
FLAX_BIASES = one_way(lambda biases: [torch.cat([bias.flatten() for bias in biases])])
FLAX_NORM = one_way(lambda tensors: [tensors[0].flatten()])
"""Old files have (1, 1, 1, channels)."""
FLAX_OUT = one_way(lambda kernels: [transpose(kernels[0].flatten(0, 1))])
"""(h, e, d) -> (d, h * e)."""
FLAX_CONVOLUTION = one_way(lambda kernels: [kernels[0].permute(3, 2, 0, 1)])
"""(rows, columns, inputs, outputs) -> (outputs, inputs, rows, columns)."""
FLAX_PATCHES = one_way(lambda kernels: [unroll_kernel(kernels[0].permute(3, 2, 0, 1))])


def dense(theirs: str, ours: str) -> list[Rule]:
    """Pair a dense layer, whose kernel is (inputs, outputs) there."""
    return [rule(f"{theirs}/kernel", f"{ours}.weight", TRANSPOSE), rule(f"{theirs}/bias", f"{ours}.bias")]


def norm(theirs: str, ours: str) -> list[Rule]:
    """Pair a normalisation."""
    return [rule(f"{theirs}/scale", f"{ours}.weight", FLAX_NORM), rule(f"{theirs}/bias", f"{ours}.bias", FLAX_NORM)]


def fused(theirs: str, parts: Sequence[str], ours: str) -> list[Rule]:
    """Pair projections of an attention that share a layer of ours."""
    return [
        rule([f"{theirs}/{part}/kernel" for part in parts], f"{ours}.weight", FLAX_KERNELS),
        rule([f"{theirs}/{part}/bias" for part in parts], f"{ours}.bias", FLAX_BIASES),
    ]


def attention_out(theirs: str, ours: str) -> list[Rule]:
    """Pair the projection after an attention."""
    return [rule(f"{theirs}/out/kernel", f"{ours}.weight", FLAX_OUT), rule(f"{theirs}/out/bias", f"{ours}.bias")]


class GoogleVit(Naming[Vit]):
    """The names of flax, `/` between them: generation A (vit_jax) and B (big_vision), blocks stacked or not."""

    name = "google"
    title = "Google's ViT"
    kinds: ClassVar[tuple[type[Section], ...]] = (Vit,)
    stretch = Stretch(mode="bilinear", align_corners=True)

    def recognises(self, foreign: Foreign) -> bool:
        names = foreign.tensors.keys()
        return "embedding/kernel" in names and any(name.startswith("Transformer/encoderblock") for name in names)

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors = name_as_vit_jax(foreign.tensors)
        kernel = take(tensors, "embedding/kernel", 4)
        query = take(tensors, BLOCK.format(i=0) + "MultiHeadDotProductAttention_1/query/kernel", 3)
        hidden = take(tensors, BLOCK.format(i=0) + "MlpBlock_3/Dense_0/kernel", 2)
        section = {
            "name": "vit",
            **dimensions(kernel.shape[3], count(tensors, BLOCK + "LayerNorm_0/scale"), hidden.shape[1], query.shape[1]),
            "patch": kernel.shape[0],
            "pool": "map" if "MAPHead_0/probe" in tensors else "cls" if "cls" in tensors else "gap",
            "norm_eps": 1e-6,
            "gelu": "tanh",
        }
        if "pre_logits/kernel" in tensors:
            width = take(tensors, "pre_logits/kernel", 2).shape[1]
            section |= {"head": "mlp", "head_width": width, "head_activation": "tanh"}
        return section | self.positions(tensors)

    def pixels(self, tensors: Mapping[str, Tensor]) -> int:
        """Count the pixels of the image on a side of a token."""
        return take(tensors, "embedding/kernel", 4).shape[0]

    def positions(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Tell the positions and with them the resolution; without a table it is the fixed one of big_vision."""
        name = TABLE if TABLE in tensors else BARE_TABLE
        if name not in tensors:
            return {"positions": "sincos2d", "cls_position": False}
        has_row = name == TABLE and "cls" in tensors
        side = side_of(take(tensors, name, 3).shape[1] - has_row, name)
        return {"positions": "learned", "cls_position": has_row, "res": side * self.pixels(tensors)}

    def classes(self, foreign: Foreign) -> int:
        return foreign.tensors["head/bias"].numel() if "head/bias" in foreign.tensors else 0

    def rules(self, section: Vit) -> list[Rule]:
        hidden = section.head == "mlp"
        return [
            rule("embedding/kernel", "embedding.projection.weight", FLAX_PATCHES),
            rule("embedding/bias", "embedding.projection.bias"),
            rule("cls", "cls"),
            rule(BARE_TABLE, "positions.table"),
            *position_rules(section),
            *norm(BLOCK + "LayerNorm_0", "blocks.{i}.norm1"),
            *fused(BLOCK + "MultiHeadDotProductAttention_1", ("query", "key", "value"), "blocks.{i}.attention.qkv"),
            *attention_out(BLOCK + "MultiHeadDotProductAttention_1", "blocks.{i}.attention.out"),
            *norm(BLOCK + "LayerNorm_2", "blocks.{i}.norm2"),
            *dense(BLOCK + "MlpBlock_3/Dense_0", "blocks.{i}.mlp.fc1"),
            *dense(BLOCK + "MlpBlock_3/Dense_1", "blocks.{i}.mlp.fc2"),
            *norm("Transformer/encoder_norm", "norm"),
            rule("MAPHead_0/probe", "pool.probe"),
            *fused("MAPHead_0/MultiHeadDotProductAttention_0", ("query",), "pool.q"),
            *fused("MAPHead_0/MultiHeadDotProductAttention_0", ("key", "value"), "pool.kv"),
            *attention_out("MAPHead_0/MultiHeadDotProductAttention_0", "pool.out"),
            *norm("MAPHead_0/LayerNorm_0", "pool.norm"),
            *dense("MAPHead_0/MlpBlock_0/Dense_0", "pool.mlp.fc1"),
            *dense("MAPHead_0/MlpBlock_0/Dense_1", "pool.mlp.fc2"),
            *dense("pre_logits", "head.hidden"),
            *dense("head", "head.classes" if hidden else "head"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        if TABLE in foreign.tensors:  # vit_jax squashes images; big_vision takes the middle
            return half(interpolation="bilinear", resize="squash")
        return half(interpolation="bilinear")

    def arrange(self, tensors: Mapping[str, Tensor], section: Vit) -> dict[str, Tensor]:  # noqa: ARG002
        return name_as_vit_jax(tensors)


def position_rules(section: Vit) -> list[Rule]:
    """Pair vit_jax's table, whose first row is the class token's where there is one."""
    if section.pool == "cls" and section.cls_position:
        return [rule(TABLE, ["positions.prefix", "positions.table"], split(1))]
    return [rule(TABLE, "positions.table")]


def name_as_vit_jax(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each block its own tensors where they are stacked, and big_vision's parts vit_jax's names."""
    named: dict[str, Tensor] = {}
    is_later = not any("MlpBlock_3" in name for name in tensors)
    for name, tensor in tensors.items():
        rest = name.removeprefix(STACKED)
        parts = {name: tensor}
        if rest != name and tensor.ndim:
            parts = {f"Transformer/encoderblock_{i}/{rest}": one for i, one in enumerate(tensor)}
        for part, value in parts.items():
            named[rename_later(part) if is_later else part] = value
    return named


def rename_later(name: str) -> str:
    """Give a part of a block its name in vit_jax; other names stay."""
    match = re.fullmatch(r"(Transformer/encoderblock_\d+/)(\w+)(/.*)", name)
    return f"{match[1]}{LATER.get(match[2], match[2])}{match[3]}" if match else name

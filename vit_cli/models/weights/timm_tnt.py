"""TNT in timm's names, and in its authors' (Efficient-AI-Backbones), which differ in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from vit_cli.models.positions import Stretch
from vit_cli.models.tnt import TNT_SIZES, Tnt, TntSize
from vit_cli.models.weights.convert import Conversion, each, split
from vit_cli.models.weights.defaults import half
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import HEAD_WIDTH, count, take
from vit_cli.models.weights.timm_config import arguments, input_size, preprocess
from vit_cli.models.weights.told import read_count, tell_res

WORD = 4
"""The side of a word in pixels, in every published model; weights do not tell it."""
LAYERS = (
    ("embedding.projection", "pixel_embed.proj", "patch_embed.proj"),
    ("fold.norm1", "norm1_proj", "proj_norm1"),
    ("fold.projection", "proj", "proj"),
    ("fold.norm2", "norm2_proj", "proj_norm2"),
    ("blocks.{i}.fold.norm1", "blocks.{i}.norm1_proj", "blocks.{i}.proj_norm1"),
    ("blocks.{i}.fold.projection", "blocks.{i}.proj", "blocks.{i}.proj"),
    ("blocks.{i}.fold.norm2", "blocks.{i}.norm2_proj", "blocks.{i}.proj_norm2"),
    ("blocks.{i}.inner.norm1", "blocks.{i}.norm_in", "blocks.{i}.inner_norm1"),
    ("blocks.{i}.inner.norm2", "blocks.{i}.norm_mlp_in", "blocks.{i}.inner_norm2"),
    ("blocks.{i}.outer.norm1", "blocks.{i}.norm_out", "blocks.{i}.outer_norm1"),
    ("blocks.{i}.outer.norm2", "blocks.{i}.norm_mlp", "blocks.{i}.outer_norm2"),
    ("norm", "norm", "norm"),
    ("head", "head", "head"),
)
"""Layers by our name, timm's, the authors'."""
LEVELS = (
    ("blocks.{i}.inner", "blocks.{i}.attn_in", "blocks.{i}.inner_attn", "blocks.{i}.mlp_in", "blocks.{i}.inner_mlp"),
    ("blocks.{i}.outer", "blocks.{i}.attn_out", "blocks.{i}.outer_attn", "blocks.{i}.mlp", "blocks.{i}.outer_mlp"),
)
"""Attention and MLP of each level likewise."""


def unroll_words(table: Tensor) -> Tensor:
    """(1, c, rows, columns), or the authors' (1, m, c), -> (1, m, c)."""
    return table.flatten(2).mT if table.ndim == 4 else table


def roll_words(table: Tensor) -> Tensor:
    """(1, m, c) -> (1, c, rows, columns)."""
    return table.mT.unflatten(2, (round(table.shape[1] ** 0.5), -1))


class TimmTnt(Naming[Tnt]):
    """timm's `tnt_*` models and the authors' checkpoints, the published form and the legacy one."""

    name = "timm-tnt"
    title = "timm's TNT"
    kinds = (Tnt,)
    stretch = Stretch(antialias=True)
    aside: ClassVar[Mapping[str, str]] = {"outer_tokens": "nothing uses it"}

    def recognises(self, foreign: Foreign) -> bool:
        return any({"cls_token", name} <= foreign.tensors.keys() for name in ("pixel_pos", "inner_pos"))

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors, args = foreign.tensors, arguments(foreign.config)
        legacy = "blocks.0.norm2_proj.weight" not in tensors and "blocks.0.proj_norm2.weight" not in tensors
        stem = take(tensors, "pixel_embed.proj.weight" if "pixel_pos" in tensors else "patch_embed.proj.weight", 4)
        inner, width = stem.shape[0], take(tensors, "cls_token", 3).shape[2]
        size = TntSize(
            inner_width=inner,
            inner_heads=read_count(args, "num_heads_inner") or (2 if inner == TNT_SIZES["tiny"].inner_width else 4),
            width=width,
            heads=read_count(args, "num_heads_outer") or max(1, width // HEAD_WIDTH),
            depth=count(tensors, "blocks.{i}.proj.weight"),
        )
        named = next((name for name, known in TNT_SIZES.items() if known == size), None)
        word = read_count(args, "first_stride") or WORD
        patch = round((take(tensors, "proj.weight", 2).shape[1] // inner) ** 0.5) * word
        table = "patch_pos" if "patch_pos" in tensors else "outer_pos"
        return {
            "name": "tnt",
            **({"size": named} if named else size._asdict()),
            "patch": patch,
            "word": word,
            **tell_res(input_size(foreign.config), patch, take(tensors, table, 3).shape[1] - 1, table),
            "legacy": legacy,
        }

    def classes(self, foreign: Foreign) -> int:
        return len(take(foreign.tensors, "head.weight", 2)) if "head.weight" in foreign.tensors else 0

    def rules(self, section: Tnt) -> list[Rule]:  # noqa: ARG002
        positions = ("outer_positions.prefix", "outer_positions.table")
        inner: Conversion = each(unroll_words, roll_words)
        rules = [
            rule("cls_token", "cls"),
            *(rule(name, "inner_positions.table", inner) for name in ("pixel_pos", "inner_pos")),
            *(rule(name, positions, split(1)) for name in ("patch_pos", "outer_pos")),
        ]
        for ours, *theirs in LAYERS:
            rules += [found for name in theirs for found in layer(name, ours)]
        for ours, *theirs in LEVELS:
            for attention, mlp in zip(theirs[:2], theirs[2:], strict=True):
                rules += [rule(f"{attention}.{name}.weight", f"{ours}.attention.{name}.weight") for name in ("qk", "v")]
                rules += layer(f"{attention}.proj", f"{ours}.attention.out")
                rules += [found for name in ("fc1", "fc2") for found in layer(f"{mlp}.{name}", f"{ours}.mlp.{name}")]
        return rules

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        return preprocess(foreign, half(crop=0.9))

    def restore(self, tensors: Mapping[str, Tensor], section: Tnt) -> dict[str, Tensor]:
        """timm has both tables always: zeros stand for positions that a model has not."""
        dims, words = section.dimensions, section.word_grid
        patches = section.grid.rows * section.grid.columns
        absent = {
            "pixel_pos": torch.zeros(1, dims.inner_width, *words),
            "patch_pos": torch.zeros(1, patches + 1, dims.width),
        }
        return absent | dict(tensors)

"""timm's Vision Transformers: ViT, DeiT with and without distillation, DeiT III, DINOv2 with registers, MAP pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.deit import Deit
from vit_cli.models.positions import Stretch
from vit_cli.models.vit import Vit
from vit_cli.models.vit_fields import VitFields
from vit_cli.models.weights.convert import FUSE_TWO, PATCHES, split
from vit_cli.models.weights.defaults import half, imagenet
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import count, dimensions, take
from vit_cli.models.weights.timm_config import architecture, arguments, input_size, preprocess
from vit_cli.models.weights.told import read_count, tell_res
from vit_cli.section import Section

BLOCK = "blocks.{i}."
TABLE = "pos_embed"
TANH = ("gelu_tanh", "gelu_pytorch_tanh")
EXACT = ("gelu", "gelu_erf")
TANH_MODELS = (
    "vit_so400m_patch16_siglip_",
    "vit_giantopt_",
    "vit_base_patch32_siglip_",
    "vit_large_patch16_siglip_512",
    "vit_large_patch16_siglip_gap_512",
)
"""How names of models begin that have tanh's GELU (timm 1.0, vision_transformer.py)."""
HEADS = {"vit_base_patch16_gap_224": 16, "test_vit": 2, "test_vit2": 2}
"""Models whose attention heads are others than their width tells."""
HIDDEN = {
    "_rpn_": "norms after the branches",
    "_rope_": "rotary positions",
    "_dinov3": "rotary positions",
    "_lingbot": "rotary positions",
}
"""Parts of models' names, and what their tensors' names do not show: they are those of a plain ViT."""
DINO_PATCH = 14
POOLS = ("token", "avg", "map")


class TimmVit(Naming[VitFields]):
    """The names of timm's `VisionTransformer` and `VisionTransformerDistilled`."""

    name = "timm"
    title = "timm's ViT"
    kinds: ClassVar[tuple[type[Section], ...]] = (Vit, Deit)
    stretch = Stretch(antialias=True)
    aside = dict.fromkeys(("pre_logits.fc.weight", "pre_logits.fc.bias"), "timm has no such layer any more")

    def recognises(self, foreign: Foreign) -> bool:
        return {
            "patch_embed.proj.weight",
            "blocks.0.norm1.weight",
            "blocks.0.attn.qkv.weight",
        } <= foreign.tensors.keys()

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors, args = foreign.tensors, arguments(foreign.config)
        kernel = take(tensors, "patch_embed.proj.weight", 4)
        mlp = take(tensors, "blocks.0.mlp.fc2.weight", 2).shape[1]
        width, depth = kernel.shape[0], count(tensors, BLOCK + "norm1.weight")
        gated = is_gated(tensors, mlp)
        refuse_hidden(foreign, ("silu", "swish") if gated else TANH + EXACT)
        section = {
            **dimensions(width, depth, mlp, count_heads(foreign, width)),
            **({"mlp": mlp, "ffn": "swiglu"} if gated else {}),
            "patch": kernel.shape[2],
            "norm_eps": 1e-6,
            "gelu": "tanh" if has_tanh(foreign) else "exact",
            **self.positions(foreign, self.pixels(foreign)),
        }
        if "dist_token" in tensors:
            return {"name": "deit", **section}
        optional = {
            "registers": take(tensors, "reg_token", 3).shape[1] if "reg_token" in tensors else 0,
            "layer_scale": first_gamma(tensors),
            "qk_norm": "blocks.0.attn.q_norm.weight" in tensors,
            "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
            **pooling(tensors, args),
        }
        return {"name": "vit", **section, **optional}

    def pixels(self, foreign: Foreign) -> int:
        """Tell the pixels on a side of a token."""
        return take(foreign.tensors, "patch_embed.proj.weight", 4).shape[2]

    def positions(self, foreign: Foreign, pixels: int) -> dict[str, Any]:
        """Tell the positions, whether prefix tokens have one, and the resolution."""
        tensors, size = foreign.tensors, input_size(foreign.config)
        if TABLE not in tensors:
            return {"positions": "none"} | ({"res": list(size)} if size else {})
        rows = take(tensors, TABLE, 3).shape[1]
        prefix = count_prefix(tensors)
        bare = arguments(foreign.config).get("no_embed_class")
        has_prefix = bool(prefix) and (not is_square(rows) or is_square(rows - prefix) if bare is None else not bare)
        section = {"positions": "learned", **tell_res(size, pixels, rows - prefix * has_prefix, TABLE)}
        return section | ({} if has_prefix or "cls_token" not in tensors else {"cls_position": False})

    def classes(self, foreign: Foreign) -> int:
        return len(take(foreign.tensors, "head.weight", 2)) if "head.weight" in foreign.tensors else 0

    def rules(self, section: VitFields) -> list[Rule]:
        after = section.pool == "gap" and section.pool_norm == "after"
        norms = ("fc_norm", "norm") if after else ("norm", "fc_norm")  # on a class token they are the same
        prefix = prefix_rows(section)
        table = ["positions.prefix", "positions.table"] if prefix else "positions.table"
        return [
            rule("cls_token", "cls"),
            rule("dist_token", "dist"),
            rule("reg_token", "registers"),
            rule(TABLE, table, split(prefix)) if prefix else rule(TABLE, table),
            *layer("patch_embed.proj", "embedding.projection", PATCHES),
            *layer(BLOCK + "norm1", BLOCK + "norm1"),
            *layer(BLOCK + "attn.qkv", BLOCK + "attention.qkv"),
            *layer(BLOCK + "attn.q_norm", BLOCK + "attention.norm_q"),
            *layer(BLOCK + "attn.k_norm", BLOCK + "attention.norm_k"),
            *layer(BLOCK + "attn.proj", BLOCK + "attention.out"),
            *layer(BLOCK + "norm2", BLOCK + "norm2"),
            *layer(BLOCK + "mlp.fc1", BLOCK + "mlp.fc1"),
            *(
                rule([f"{BLOCK}mlp.fc1_g.{kind}", f"{BLOCK}mlp.fc1_x.{kind}"], f"{BLOCK}mlp.fc1.{kind}", FUSE_TWO)
                for kind in ("weight", "bias")
            ),
            *layer(BLOCK + "mlp.fc2", BLOCK + "mlp.fc2"),
            *(rule(f"{BLOCK}ls{n}.gamma", f"{BLOCK}scale{n}.gamma") for n in (1, 2)),
            *(rule(f"{BLOCK}gamma_{n}", f"{BLOCK}scale{n}.gamma") for n in (1, 2)),
            *(found for name in norms for found in layer(name, "norm")),
            rule("attn_pool.latent", "pool.probe"),
            *(found for name in ("q", "kv", "norm", "mlp.fc1", "mlp.fc2") for found in pooled(name, name)),
            *pooled("proj", "out"),
            *layer("head", "head"),
            *layer("head_dist", "head_dist"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        """Take what timm's default_cfgs say of the models with such parts: DINOv2, DeiT III, DeiT; the others are Google's."""
        has_gamma = first_gamma(foreign.tensors) is not None
        if has_gamma and self.pixels(foreign) == DINO_PATCH:
            return preprocess(foreign, imagenet(crop=1.0))
        return preprocess(
            foreign, imagenet(crop=0.9) if has_gamma or "dist_token" in foreign.tensors else half(crop=0.9)
        )

    def arrange(self, tensors: Mapping[str, Tensor], section: VitFields) -> dict[str, Tensor]:
        """Add to registers the positions that they may have: no position of their own says the same."""
        arranged = dict(tensors)
        rows = section.grid.rows * section.grid.columns
        registers, table = arranged.get("reg_token"), arranged.get(TABLE)
        if registers is not None and table is not None and table.shape[1] > rows + prefix_rows(section):
            n = prefix_rows(section)
            arranged["reg_token"] = registers + table[:, n : n + registers.shape[1]]
            arranged[TABLE] = torch.cat([table[:, :n], table[:, n + registers.shape[1] :]], dim=1)
        return arranged

    def restore(self, tensors: Mapping[str, Tensor], section: VitFields) -> dict[str, Tensor]:
        """Give registers a position of zero where the class token has one: there is no other way in timm."""
        restored = dict(tensors)
        registers, table = restored.get("reg_token"), restored.get(TABLE)
        if registers is not None and table is not None and prefix_rows(section):
            n = prefix_rows(section)
            restored[TABLE] = torch.cat([table[:, :n], torch.zeros_like(registers), table[:, n:]], dim=1)
        return restored


def pooled(theirs: str, ours: str) -> list[Rule]:
    """Pair a layer of MAP pooling."""
    return layer(f"attn_pool.{theirs}", f"pool.{ours}")


def prefix_rows(section: VitFields) -> int:
    """Count the tokens before the patches that have a position."""
    has_rows = section.cls_position and section.positions == "learned"
    return section.has_cls + section.extra_tokens if has_rows else 0


def count_prefix(tensors: Mapping[str, Tensor]) -> int:
    """Count the tokens before the patches."""
    return sum(take(tensors, name, 3).shape[1] for name in ("cls_token", "dist_token", "reg_token") if name in tensors)


def is_square(number: int) -> bool:
    """Tell whether a square grid has so many places."""
    return number > 0 and round(number**0.5) ** 2 == number


def refuse_hidden(foreign: Foreign, activations: tuple[str, ...]) -> None:
    """Raise CheckpointError for what ours is not, though its tensors have the names and shapes of ours."""
    args, name = arguments(foreign.config), architecture(foreign.config)
    act, pool = args.get("act_layer"), args.get("global_pool")
    reasons = [
        *(f"architecture {name:.60} has {what}" for part, what in HIDDEN.items() if part in name),
        *([f"act_layer is {act!r:.40}"] if act and act not in activations else []),
        *([f"global_pool is {pool!r:.40}"] if pool and pool not in POOLS else []),
        *(f"{key} is set" for key in ("block_fn", "pool_include_prefix") if args.get(key)),
    ]
    if reasons:
        raise CheckpointError(f"config.json: {'; '.join(reasons)}; no model that vit reads from timm is like that")
    if "norm_pre.weight" in foreign.tensors:
        raise CheckpointError(
            "the weights have norm_pre, CLIP's LayerNorm before the blocks; no model of vit's has one"
        )
    if TABLE not in foreign.tensors and "blocks.0.gamma_1" in foreign.tensors:
        raise CheckpointError(f"the weights lack {TABLE}, and blocks.0.gamma_1 is of models with rotary positions")


def count_heads(foreign: Foreign, width: int) -> int | None:
    """Count attention heads by the norm of one, or as the config tells; None if nothing does."""
    norm = foreign.tensors.get("blocks.0.attn.q_norm.weight")
    if norm is not None:
        return width // max(1, norm.numel())
    return read_count(arguments(foreign.config), "num_heads") or HEADS.get(architecture(foreign.config))


def first_gamma(tensors: Mapping[str, Tensor]) -> float | None:
    """Tell LayerScale's first value, DINOv2's, if there is LayerScale: what it was at first, no weights tell."""
    return 1e-5 if {"blocks.0.ls1.gamma", "blocks.0.gamma_1"} & tensors.keys() else None


def is_gated(tensors: Mapping[str, Tensor], mlp: int) -> bool:
    """Tell whether the MLP's first layer has a gate beside the values, in one tensor or two."""
    return "blocks.0.mlp.fc1_g.weight" in tensors or len(take(tensors, "blocks.0.mlp.fc1.weight", 2)) == 2 * mlp


def has_tanh(foreign: Foreign) -> bool:
    """Tell whether GELU is the one of tanh."""
    act = arguments(foreign.config).get("act_layer")
    return act in TANH if act else architecture(foreign.config).startswith(TANH_MODELS)


def pooling(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> dict[str, Any]:
    """Tell how tokens are pooled, and whether the last LayerNorm comes before or after it."""
    if "attn_pool.latent" in tensors:
        if count_prefix(tensors):
            raise CheckpointError(
                "attn_pool beside a class token or registers: it looks at patches only there, here at all"
            )
        return {"pool": "map"}
    told = args.get("global_pool") or None
    if told == "token" or (told is None and "fc_norm.weight" not in tensors and "cls_token" in tensors):
        return {"pool": "cls"}
    has_cls = {"cls_token": True} if "cls_token" in tensors else {}
    return {"pool": "gap", "pool_norm": "after" if "fc_norm.weight" in tensors else "before", **has_cls}

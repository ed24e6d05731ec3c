"""Our models as folders that timm loads with `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vit_cli.augment.preprocess import Preprocess
from vit_cli.export.learned import as_learned, with_all_rows
from vit_cli.export.target import Export, Source, as_json_res, refuse, unknown
from vit_cli.models.deit import Deit
from vit_cli.models.hybrid import Hybrid
from vit_cli.models.tnt import Tnt
from vit_cli.models.vit_fields import VitFields
from vit_cli.models.weights.naming import Naming, to_theirs
from vit_cli.models.weights.timm_hybrid import TimmHybrid
from vit_cli.models.weights.timm_tnt import TimmTnt
from vit_cli.models.weights.timm_vit import TimmVit, prefix_rows
from vit_cli.section import Grid

SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
REGISTERED = {"tiny": (16,), "small": (8, 16, 32), "base": (8, 16, 32), "large": (14, 16, 32), "huge": (14,)}
"""The patches for which timm has a `vit_<size>_patch<patch>_224`."""
HYBRIDS = {
    (): "vit_tiny_r_s16_p8_224",
    (2, 2, 2, 2): "vit_small_r26_s32_224",
    (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224",
}
GATED = "vit_giant_patch14_dinov2"
"""The only kind of timm's models whose MLP has a gate and whose other dimensions are free."""
EPS, TNT_EPS = 1e-6, 1e-5


def to_timm(source: Source) -> Export:
    """Give a model as timm has it. Raises UsageError, with the reasons, for one that it does not have."""
    section = source.section
    if isinstance(section, Tnt):
        return export_tnt(source, section)
    if isinstance(section, VitFields):
        return export_vit(source, section)
    raise unknown("timm", "vit, deit, hybrid and tnt", section)


def export_tnt(source: Source, section: Tnt) -> Export:
    """Give a TNT. timm fixes the inner MLP and LayerNorm's epsilon."""
    refuse("timm", [], [differing_eps(section.norm_eps, TNT_EPS)])
    dims = section.dimensions
    args = {
        "img_size": as_json_res(source.res),
        "patch_size": section.patch,
        "embed_dim": dims.width,
        "inner_dim": dims.inner_width,
        "depth": dims.depth,
        "num_heads_inner": dims.inner_heads,
        "num_heads_outer": dims.heads,
        "first_stride": section.word,
    }
    base = {384: "tnt_s", 640: "tnt_b"}.get(dims.width, "tnt_s")
    name = "tnt_s_legacy_patch16_224" if section.legacy else f"{base}_patch16_224"
    return fold(source, TimmTnt(), section, name, args, "pixel_embed.proj")


def export_vit(source: Source, section: VitFields) -> Export:
    """Give a ViT, a DeiT with a distillation token, or a hybrid, its positions as a learned table."""
    refuse_vit(section)
    learned, weights = as_learned(section, source.weights)
    if isinstance(section, Deit):  # timm always has its tokens' rows
        learned, weights = with_all_rows(learned, weights)
    args = describe_vit(learned, source.res)
    inner = Source(learned, weights, source.res, source.preprocess, source.class_names)
    if isinstance(learned, Hybrid):
        first = "patch_embed.backbone.stem.conv" if learned.resnet.blocks else "patch_embed.backbone.conv"
        return fold(inner, TimmHybrid(), learned, HYBRIDS[learned.resnet.blocks], args, first)
    return fold(inner, TimmVit(), learned, name_vit(learned, source.res), args, "patch_embed.proj")


def refuse_vit(section: VitFields) -> None:
    """Raise UsageError for what timm's `VisionTransformer` has no argument for."""
    is_distilled, is_hybrid = isinstance(section, Deit), isinstance(section, Hybrid)
    reasons = [
        (section.positions in ("relative", "rope"), f"positions: {section.positions}"),
        (section.positions_at in ("layers", "shared"), f"positions_at: {section.positions_at}"),
        (section.attention != "full", f"attention: {section.attention}"),
        (section.head == "mlp", "head: mlp, for timm's is linear"),
        (section.pool == "cls_gap", "pool: cls_gap"),
        (section.pool == "map" and section.pool_norm == "after", "pool: map with pool_norm: after"),
        (section.pool == "map" and section.prefix > 0, "pool: map that looks at a class token or registers"),
        (section.pool == "map" and section.ffn == "swiglu", "pool: map beside ffn: swiglu"),
        (is_distilled and section.registers > 0, "registers beside a distillation token"),
        (is_distilled and section.ffn == "swiglu", "ffn: swiglu beside a distillation token"),
        (is_hybrid and section.ffn == "swiglu", "ffn: swiglu beside a backbone"),
    ]
    near = [differing_eps(section.norm_eps, EPS)]
    if isinstance(section, Hybrid):
        others = f"convention: {section.convention}, for timm's small constants are others"
        near.append((section.convention != "timm", others, "model.convention=timm"))
        reasons += [
            (section.resnet.blocks not in HYBRIDS, f"backbone of {section.resnet.blocks} units"),
            (section.resnet.width != 64, f"backbone of width {section.resnet.width}, timm's is 64"),
        ]
    refuse("timm", reasons, near)


def differing_eps(own: float, theirs: float) -> tuple[bool, str, str]:
    """Give the test of LayerNorm's epsilon, its words, and the change to timm's."""
    return own != theirs, f"norm_eps is {own:g}, timm's is {theirs:g}", f"model.norm_eps={theirs:g}"


def describe_vit(section: VitFields, res: Grid) -> dict[str, Any]:
    """Give the arguments of timm's `VisionTransformer`, all that our section tells, also where they are the defaults."""
    dims, is_gated = section.dimensions, section.ffn == "swiglu"
    args: dict[str, Any] = {
        "img_size": as_json_res(res),
        "patch_size": section.patch,
        "embed_dim": dims.width,
        "depth": dims.depth,
        "num_heads": dims.heads,
        "mlp_ratio": ratio(dims.mlp * (2 if is_gated else 1), dims.width),
        "qkv_bias": section.qkv_bias,
        "qk_norm": section.qk_norm,
        "init_values": section.layer_scale,
    }
    if not is_gated:
        args["act_layer"] = "gelu_tanh" if section.gelu == "tanh" else "gelu"
    if isinstance(section, Deit):
        return args
    return args | {
        "class_token": section.has_cls,
        "reg_tokens": section.registers,
        "pos_embed": "none" if section.positions == "none" else "learn",
        "no_embed_class": prefix_rows(section) == 0,
        "global_pool": {"cls": "token", "gap": "avg", "map": "map"}[section.pool],
        "fc_norm": section.pool == "gap" and section.pool_norm == "after",
    }


def name_vit(section: VitFields, res: Grid) -> str:
    """Give the registered name that comes closest; `model_args` say what differs from it."""
    if section.ffn == "swiglu":
        return GATED
    size = SIZES[min(SIZES, key=lambda width: abs(width - section.dimensions.width))]
    if isinstance(section, Deit):
        return f"deit_{size if size in ('tiny', 'small') else 'base'}_distilled_patch16_224"
    patch = min(REGISTERED[size], key=lambda patch: abs(patch - section.patch))
    large = res == (384, 384) and patch >= 16 and (size, patch) != ("tiny", 32)
    return f"vit_{size}_patch{patch}_{384 if large else 224}"


def ratio(hidden: int, width: int) -> float:
    """Give the factor for which timm's int(width * factor) is `hidden`."""
    factor = hidden / width
    return factor if int(width * factor) == hidden else math.nextafter(factor, math.inf)


def fold(
    source: Source,
    naming: Naming[Any],
    section: VitFields | Tnt,
    architecture: str,
    args: Mapping[str, Any],
    first: str,
) -> Export:
    """Put weights in timm's names and a config together; `first` is the convolution that takes the image in."""
    dims = section.dimensions
    pool = args.get("global_pool", "token")
    config = {
        "architecture": architecture,
        "num_classes": len(source.class_names),
        "num_features": dims.width,
        "global_pool": pool,
        "label_names": list(source.class_names),
        "model_args": {**args},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, *source.res],
            "fixed_input_size": True,
            **describe_preprocess(source.preprocess, source.res),
            "num_classes": len(source.class_names),
            "pool_size": None,
            "first_conv": first,
            "classifier": ["head", "head_dist"] if isinstance(section, Deit) else "head",
        },
    }
    weights = to_theirs(naming, section, source.weights)
    return Export(weights, {"config.json": config}, 'timm.create_model("local-dir:{folder}", pretrained=True)')


def describe_preprocess(preprocess: Preprocess, res: Grid) -> dict[str, Any]:
    """Give timm's words for how images are prepared; its resized side is rounded down, so the share may differ by a hair."""
    squash = preprocess.resize == "squash"
    return {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "crop_pct": 1.0 if squash else exact_crop_pct(min(res), preprocess.crop),
        "crop_mode": "squash" if squash else "center",
    }


def exact_crop_pct(side: int, crop: float) -> float:
    """Give the share for which timm's floor(side / share) is our round(side / crop)."""
    resized = round(side / crop)
    if math.floor(side / crop) == resized:
        return crop
    share = side / resized
    return share if math.floor(side / share) == resized else math.nextafter(share, 0)

"""Our models as folders that transformers' `AutoModelForImageClassification` and `AutoImageProcessor` load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vit_cli.augment.preprocess import Preprocess
from vit_cli.export.learned import as_learned, with_all_rows
from vit_cli.export.target import Export, Source, as_json_res, refuse, unknown
from vit_cli.models.deit import Deit
from vit_cli.models.vit import Vit
from vit_cli.models.vit_fields import VitFields
from vit_cli.models.weights.hf_config import BICUBIC, BILINEAR
from vit_cli.models.weights.huggingface import HfDino, HfVit
from vit_cli.models.weights.naming import to_theirs
from vit_cli.section import Grid

TARGET = "Hugging Face's transformers"
PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
LOADING = 'transformers.AutoModelForImageClassification.from_pretrained("{folder}")'


def to_huggingface(source: Source) -> Export:
    """Give a model as transformers has it: ViT, DeiT, or DINOv2 with registers or without.

    Raises UsageError, with the reasons, for one that it does not have.
    """
    section = source.section
    if not isinstance(section, Vit | Deit):
        raise unknown(TARGET, "vit and deit", section)
    refuse_images(source)
    refuse_vit(section)
    full, weights = with_all_rows(*as_learned(section, source.weights))
    inner = Source(full, weights, source.res, source.preprocess, source.class_names, source.task)
    return export_dino(inner, full) if is_dino(full) else export_vit(inner, full)


def is_dino(section: VitFields) -> bool:
    """Tell whether only DINOv2 has all parts of the model; DeiT has one register, as the token without a head."""
    return section.registers > 1 or section.layer_scale is not None or section.pool != "cls" or section.ffn == "swiglu"


def refuse_vit(section: VitFields) -> None:
    """Raise UsageError for what none of transformers' three models has."""
    reasons = [
        (section.positions in ("relative", "rope"), f"positions: {section.positions}"),
        (section.positions_at in ("layers", "shared"), f"positions_at: {section.positions_at}"),
        (section.attention != "full", f"attention: {section.attention}"),
        (section.qk_norm, "qk_norm"),
        (section.head == "mlp", "head: mlp, for its heads are linear"),
        (not section.has_cls, "no class token"),
        (section.pool == "map", "pool: map"),
        (section.pool == "gap" and section.pool_norm == "after", "pool: gap with pool_norm: after"),
    ]
    if isinstance(section, Deit):
        reasons.append((is_dino(section), "registers, layer_scale or ffn: swiglu beside a distillation token"))
        reasons.append((section.registers == 1, "a register beside a distillation token"))
    elif is_dino(section):
        reasons.append(
            (
                find_ratio(section) is None,
                f"an MLP of {section.dimensions.mlp} in a width of {section.dimensions.width}",
            )
        )
    refuse(TARGET, reasons)


def refuse_images(source: Source) -> None:
    """Raise UsageError for images that its processors can't cut so, and for classes that there are none of."""
    is_cut = source.preprocess.resize == "short" and source.res.rows != source.res.columns
    reasons = [
        (is_cut, f"resize: short to {source.res}, for its processors cut squares only"),
        (not source.class_names, "no head"),
    ]
    refuse(TARGET, reasons)


def find_ratio(section: VitFields) -> int | None:
    """Find the whole `mlp_ratio` of DINOv2's MLP; None if there is none. A gated one is two thirds of it, up to a multiple of 8."""
    dims = section.dimensions
    for factor in range(1, 3 * dims.mlp // dims.width + 2):
        hidden = factor * dims.width
        if section.ffn == "swiglu":
            hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        if hidden == dims.mlp:
            return factor
    return None


def export_vit(source: Source, section: VitFields) -> Export:
    """Give a ViT, or a DeiT with the head of its distillation token or without."""
    is_deit, has_token = isinstance(section, Deit), isinstance(section, Deit) or section.registers == 1
    ending = "WithTeacher" if is_deit else ""
    config = {
        "architectures": [f"{'DeiT' if has_token else 'ViT'}ForImageClassification{ending}"],
        "model_type": "deit" if has_token else "vit",
        "intermediate_size": section.dimensions.mlp,
        **describe_vit(source, section),
    }
    return Export(to_theirs(HfVit(), section, source.weights), files(config, source), LOADING)


def export_dino(source: Source, section: VitFields) -> Export:
    """Give a DINOv2, whose classifier sees the class token and the mean of patches; what ours does not see weighs nothing."""
    has_registers = section.registers > 0
    kind = "Dinov2WithRegisters" if has_registers else "Dinov2"
    config = {
        "architectures": [f"{kind}ForImageClassification"],
        "model_type": "dinov2_with_registers" if has_registers else "dinov2",
        "mlp_ratio": find_ratio(section),
        "layerscale_value": 1.0 if section.layer_scale is None else section.layer_scale,
        "use_swiglu_ffn": section.ffn == "swiglu",
        **({"num_register_tokens": section.registers} if has_registers else {}),
        **describe_vit(source, section),
    }
    weights = widen_head(section, with_gammas(section, source.weights))
    return Export(to_theirs(HfDino(), section, weights), files(config, source), LOADING)


def widen_head(section: VitFields, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a head that sees (cls, mean of patches), with zeros for the one that ours does not see."""
    widened = dict(weights)
    head = widened.get("head.weight")
    if head is not None and section.pool != "cls_gap":
        nothing = torch.zeros_like(head)
        widened["head.weight"] = torch.cat([head, nothing] if section.pool == "cls" else [nothing, head], dim=1)
    return widened


def with_gammas(section: VitFields, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give every block a LayerScale, of ones where it has none."""
    names = (f"blocks.{i}.scale{n}.gamma" for i in range(section.dimensions.depth) for n in (1, 2))
    return {name: torch.ones(section.dimensions.width) for name in names} | dict(weights)


def describe_vit(source: Source, section: VitFields) -> dict[str, Any]:
    """Give what all these configs have."""
    dims, names = section.dimensions, source.class_names
    return {
        "hidden_size": dims.width,
        "num_hidden_layers": dims.depth,
        "num_attention_heads": dims.heads,
        "hidden_act": "gelu_pytorch_tanh" if section.gelu == "tanh" else "gelu",
        "layer_norm_eps": section.norm_eps,
        "image_size": as_json_res(source.res),
        "patch_size": section.patch,
        "num_channels": section.channels,
        "qkv_bias": section.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": PROBLEMS[source.task],
    }


def files(config: Mapping[str, Any], source: Source) -> dict[str, Mapping[str, Any]]:
    """Give both JSON files."""
    return {"config.json": config, "preprocessor_config.json": describe_preprocess(source.preprocess, source.res)}


def describe_preprocess(preprocess: Preprocess, res: Grid) -> dict[str, Any]:
    """Give the image processor: BiT's, which cuts the middle out, or ViT's, which squashes."""
    size = {"height": res.rows, "width": res.columns}
    cut = preprocess.resize == "short"
    shape = {"size": {"shortest_edge": round(res.rows / preprocess.crop)}, "crop_size": size} if cut else {"size": size}
    return {
        "image_processor_type": "BitImageProcessor" if cut else "ViTImageProcessor",
        "do_resize": True,
        "do_center_crop": cut,
        **shape,
        "resample": BILINEAR if preprocess.interpolation == "bilinear" else BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }

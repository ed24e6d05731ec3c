"""What Hugging Face's config.json and preprocessor_config.json say: dimensions, activation, how images are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vit_cli.errors import CheckpointError
from vit_cli.models.weights.naming import Foreign
from vit_cli.models.weights.told import read_colours, read_size

GELUS = {"gelu": "exact", "gelu_python": "exact", "gelu_new": "tanh", "gelu_fast": "tanh", "gelu_pytorch_tanh": "tanh"}
BILINEAR, BICUBIC = 2, 3
"""Pillow's numbers of ways to resize."""


def activation(config: Mapping[str, Any]) -> str:
    """Tell which GELU `hidden_act` is. Raises CheckpointError for another function."""
    name = config.get("hidden_act", "gelu")
    if not isinstance(name, str) or name not in GELUS:
        raise CheckpointError(f"config.json: hidden_act {name!r:.40} is none of {', '.join(GELUS)}")
    return GELUS[name]


def preprocess(foreign: Foreign, default: Mapping[str, Any]) -> dict[str, Any]:
    """Give the plain values of `Preprocess`: what preprocessor_config.json tells, else `default`.

    An image that is cut is resized by its short side first, also where transformers would squash it to a square:
    DeiT's files say 256x256, its authors mean the short side.
    """
    told = foreign.preprocessor
    if not told:
        return dict(default)
    check_rescaling(told)
    resized, cut = read_size(told.get("size")), read_size(told.get("crop_size"))
    is_cut = bool(told.get("do_center_crop", cut is not None)) and None not in (resized, cut)
    is_normal = told.get("do_normalize", True)
    return {
        "mean": read_colours(told, "image_mean", default["mean"]) if is_normal else [0.0] * 3,
        "std": read_colours(told, "image_std", default["std"]) if is_normal else [1.0] * 3,
        "crop": min(1.0, cut.rows / resized.rows) if is_cut and cut and resized else 1.0,
        "resize": "short" if is_cut else "squash",
        "interpolation": "bilinear" if told.get("resample", default_resample(told)) == BILINEAR else "bicubic",
    }


def check_rescaling(told: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless pixels are brought to 0..1 before the mean is taken off, as ours are."""
    factor = told.get("rescale_factor", 1 / 255) if told.get("do_rescale", True) else 1
    if type(factor) not in (int, float) or not abs(255 * factor - 1) < 1e-3:
        raise CheckpointError(f"preprocessor_config.json: pixels are multiplied by {factor!r:.40}, expected 1/255")


def default_resample(told: Mapping[str, Any]) -> int:
    """Tell how a processor resizes that does not say it."""
    kind = str(told.get("image_processor_type", told.get("feature_extractor_type", "")))
    return BILINEAR if kind.startswith("ViT") else BICUBIC

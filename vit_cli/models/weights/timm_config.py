"""What timm's config.json says: the model's arguments, its resolution, and how its images are prepared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vit_cli.models.weights.naming import Foreign
from vit_cli.models.weights.told import read_colours, read_number, read_size
from vit_cli.section import Grid


def part(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Give the mapping at `key`; empty if there is none."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def pretrained(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what the config says about the weights: `pretrained_cfg`, or in old configs the whole of it."""
    return part(config, "pretrained_cfg") or config


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the config says about the model: `model_args`, and `global_pool` where those are silent."""
    told = {"global_pool": config["global_pool"]} if "global_pool" in config else {}
    return told | dict(part(config, "model_args"))


def architecture(config: Mapping[str, Any]) -> str:
    """Give the name of the model; empty if the config tells none."""
    name = config.get("architecture") or pretrained(config).get("architecture")
    return name if isinstance(name, str) else ""


def input_size(config: Mapping[str, Any]) -> Grid | None:
    """Give the resolution of the weights; None if the config tells none."""
    told = pretrained(config).get("input_size")
    return read_size(arguments(config).get("img_size") or (told[1:] if isinstance(told, list) else None))


def preprocess(foreign: Foreign, default: Mapping[str, Any]) -> dict[str, Any]:
    """Give the plain values of `Preprocess`: what the config tells, else `default`, whose `crop` is a `crop_pct` of timm's.

    timm rounds the resized side down, we to the nearest pixel: where that differs, the share is that of timm's pixels.
    It is of the resolution that the config names, else of 224.
    """
    told = pretrained(foreign.config)
    crop_pct = read_number(told, "crop_pct", default["crop"])
    interpolation = told.get("interpolation", default["interpolation"])
    return {
        "mean": read_colours(told, "mean", default["mean"]),
        "std": read_colours(told, "std", default["std"]),
        "crop": exact_crop(min(input_size(foreign.config) or (224,)), crop_pct),
        "resize": "squash" if told.get("crop_mode") == "squash" and crop_pct == 1 else "short",
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else "bicubic",
    }


def exact_crop(side: int, crop_pct: float) -> float:
    """Give the share whose resized side, rounded to the nearest pixel, is timm's, rounded down."""
    resized = math.floor(side / crop_pct)
    return crop_pct if round(side / crop_pct) == resized else side / resized

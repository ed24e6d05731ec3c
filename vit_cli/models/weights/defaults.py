"""How images are prepared for families of weights whose files do not tell it, in the words of `Preprocess`."""

from __future__ import annotations

from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


def imagenet(crop: float = 0.875, interpolation: str = "bicubic") -> dict[str, Any]:
    """Take off ImageNet's mean (torchvision, DeiT, DINO)."""
    return prepare(IMAGENET_MEAN, IMAGENET_STD, crop, interpolation)


def half(crop: float = 0.875, interpolation: str = "bicubic", resize: str = "short") -> dict[str, Any]:
    """Bring values to -1..1 (Google, TNT)."""
    return prepare(HALF, HALF, crop, interpolation) | {"resize": resize}


def prepare(mean: tuple[float, ...], std: tuple[float, ...], crop: float, interpolation: str) -> dict[str, Any]:
    """Give the plain values of `Preprocess`."""
    return {
        "mean": list(mean),
        "std": list(std),
        "crop": crop,
        "resize": "short",
        "interpolation": interpolation,
    }

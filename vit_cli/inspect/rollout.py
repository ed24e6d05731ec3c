"""Attention rolled out through all layers: how much each token of the input reaches a token of the last layer.

Abnar & Zuidema, 2020; ViT, appendix D.8.   b images, h heads, n tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from vit_cli.inspect.attention import watching
from vit_cli.inspect.board import Panel, Pixels
from vit_cli.inspect.maps import read_answer
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.tiles import Numbers, draw_table, fit_tile, limits_of, paint, resize, to_bytes
from vit_cli.section import Grid

LEAST_SIDE = 224


def make_factor(weights: Tensor) -> Tensor:
    """Average attention (b, h, n, n) over heads and add what the residual carries past it: (b, n, n), rows sum to 1."""
    mean = weights.mean(dim=1)
    passed = mean + torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    return passed / passed.sum(dim=-1, keepdim=True)


def roll_out(layers: Iterable[Tensor]) -> Tensor:
    """Multiply the factors of all layers' attention (b, h, n, n), the first layer's first: (b, n, n), rows sum to 1."""
    rolled: Tensor | None = None
    for weights in layers:
        factor = make_factor(weights)
        rolled = factor if rolled is None else factor @ rolled
    if rolled is None:
        raise ValueError("no layer has attention")
    return rolled


@torch.inference_mode()
def read_rollout(sight: Sight, images: Tensor) -> Tensor:
    """Give how much each patch of images (b, ...) reaches what the head reads (b, n): the class token, the mean or the pooling."""
    layers: list[Tensor] = []
    pooled: list[Tensor] = []
    pooling = [] if sight.parts.pooling is None else [sight.parts.pooling]
    with (
        watching(sight.parts.attention, lambda _, weights: layers.append(weights.mean(dim=1, keepdim=True))),
        watching(pooling, lambda _, weights: pooled.append(weights.mean(dim=1))),
    ):
        sight.model.features(images)
    rolled, prefix = roll_out(layers), sight.parts.prefix
    if pooled:
        return (pooled[0] @ rolled[:, prefix:, prefix:])[:, 0]
    return read_answer(rolled, sight.parts)


def draw_rollout(sight: Sight) -> Panel:
    """Draw the images, their rollout, and both multiplied, as in the paper: the map over its largest value."""
    found = torch.cat([read_rollout(sight, images) for images in sight.batches(sight.album.shown)])
    maps = found.unflatten(-1, sight.lattice.grid).double().cpu().numpy()
    pictures = [enlarge(picture) for picture in sight.pictures]
    heat = [paint(one, limits_of(one)) for one in maps]
    lit = [multiply(picture, one) for picture, one in zip(pictures, maps, strict=True)]
    names, peaks = sight.names, maps.max(axis=(1, 2)) / maps.mean(axis=(1, 2))
    board = draw_table([pictures, heat, lit], names, sight.width, ["image", "rollout", "image x rollout"], most=232)
    numbers = {
        "of": sight.parts.reads,
        "images": [
            {"image": name, "peak_over_mean": float(peak), "map": np.round(one, 6).tolist()}
            for name, peak, one in zip(
                (sight.album.names[place] for place in sight.album.shown), peaks, maps, strict=True
            )
        ],
    }
    return Panel(board, f"the brightest patch has {peaks.min():.2f} to {peaks.max():.2f} times the mean", numbers)


def enlarge(picture: Pixels) -> Pixels:
    """Bring a small image to a size at which a smooth map can lie on it."""
    return resize(picture, fit_tile(Grid(*picture.shape[:2]), max(LEAST_SIDE, *picture.shape[:2])))


def multiply(picture: Pixels, found: Numbers) -> Pixels:
    """Darken an image where its map, brought to a largest value of 1 and made smooth, is small."""
    mask = resize(to_bytes(found / found.max()), Grid(*picture.shape[:2]), smooth=True)
    return to_bytes(picture / 255 * mask[..., None] / 255)

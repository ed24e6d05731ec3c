"""How alike vectors are: positions, and what the head reads and the patches, layer by layer."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import Tensor

from vit_cli.inspect.board import SINGLE, Board, Panel
from vit_cli.inspect.layers import Layer, read_layers
from vit_cli.inspect.parts import Parts
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.style import BLUE, mark_layers
from vit_cli.inspect.tiles import Numbers, Range, choose_evenly, draw_bar, draw_table, paint

MOST_LAYERS, MOST_IMAGES = 12, 3
HEIGHT = 420
"""Of the diagram, in pixels."""


def compare_all(vectors: Tensor) -> Tensor:
    """Give the cosine of every two of n vectors (n, d): (n, n)."""
    unit = F.normalize(vectors.double(), dim=-1)
    return unit @ unit.T


def compare_to_reference(layer: Layer, parts: Parts) -> Tensor:
    """Give the cosine of each patch (b, n) with the class token, or with the mean over patches if the head reads no class token."""
    reference = layer.prefix[:, :1] if parts.reads == "class token" else layer.patches.mean(dim=1, keepdim=True)
    return F.cosine_similarity(layer.patches.double(), reference.double(), dim=-1)


def draw_similarity(sight: Sight) -> Panel:
    """Draw the cosine over layers, its mean and where 80 % of the patches lie, and below its maps for the images that are drawn."""
    parts = sight.parts
    runs = [
        torch.stack([compare_to_reference(layer, parts) for layer in read_layers(sight.model, parts, images)]).cpu()
        for images in sight.batches()
    ]
    found = torch.cat(runs, dim=1).numpy()  # (layers, images, patches)
    spread = np.percentile(found, (10, 90), axis=(1, 2))
    means = found.mean(axis=(1, 2))
    reference = "class token" if parts.reads == "class token" else "mean token"
    board = Board(sight.width)
    board.plot(0, 0, sight.width, HEIGHT, partial(draw_course, means=means, spread=spread))
    chosen = choose_evenly(len(found), MOST_LAYERS if sight.width == SINGLE else MOST_LAYERS // 2 + 1)
    limits = Range(min(0.0, float(found[:, sight.album.shown].min())), 1.0)
    rows = [
        [picture, *(paint(found[layer, place].reshape(sight.lattice.grid), limits) for layer in chosen)]
        for place, picture in list(zip(sight.album.shown, sight.pictures, strict=True))[:MOST_IMAGES]
    ]
    heads = ["image", *(f"layer {place + 1}" if len(chosen) * 90 < sight.width else str(place + 1) for place in chosen)]
    board.stack(draw_table(rows, heads, sight.width, sight.names[: len(rows)]))
    board.stack(draw_bar(limits, f"cosine with the {reference}", sight.width))
    numbers = {"of": reference, "images": found.shape[1], "mean": means.tolist()}
    numbers |= {"p10": spread[0].tolist(), "p90": spread[1].tolist()}
    summary = (
        f"{reference} against patches: cosine {means[0]:.2f} after the first layer, {means[-1]:.2f} after the last"
    )
    return Panel(board, f"{summary} ({found.shape[1]} images)", numbers)


def draw_course(axes: Axes, means: Numbers, spread: Numbers) -> None:
    """Draw the mean of each layer, and the band from 10 to 90 %."""
    layers = np.arange(1, len(means) + 1)
    axes.fill_between(layers, *spread, color=BLUE, alpha=0.18, linewidth=0, label="10 to 90 % of the patches")
    axes.plot(layers, means, "o-", color=BLUE, label="mean over patches and images")
    axes.set(xlabel="layer", ylabel="cosine", ylim=(min(0.0, 1.1 * float(spread.min())), 1.02))
    mark_layers(axes, len(means))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)

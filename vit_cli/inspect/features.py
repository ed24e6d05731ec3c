"""What each layer makes of an image, as colours: the first three principal components of its patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vit_cli.inspect.board import SINGLE, Panel
from vit_cli.inspect.layers import read_layers
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.tiles import Numbers, choose_evenly, draw_table, to_bytes

MOST_LAYERS = 9


def to_colors(cells: Numbers) -> tuple[Numbers, Numbers]:
    """Give vectors (b, n, d) colours (b, n, 3) from 0 to 1, and the shares of variance of the components they stand for.

    The components are those of all images together; each is brought to 0 at its first percentile and to 1 at its last. One
    that varies not at all, or that there is not, is 0.5.
    """
    from sklearn.decomposition import PCA

    flat = cells.reshape(-1, cells.shape[-1])
    colors, shares = np.full((len(flat), 3), 0.5), np.zeros(3)
    if (flat == flat[0]).all():
        return colors.reshape(*cells.shape[:2], 3), shares
    found = PCA(min(3, *flat.shape), svd_solver="full")
    places = found.fit_transform(flat - flat.mean(axis=0))
    low, high = np.percentile(places, (1, 99), axis=0)
    varies = high - low > 1e-9 * max(1e-9, float(np.abs(flat).max()))
    for place in np.flatnonzero(varies):
        colors[:, place] = np.clip((places[:, place] - low[place]) / (high[place] - low[place]), 0, 1)
        shares[place] = found.explained_variance_ratio_[place]
    return colors.reshape(*cells.shape[:2], 3), shares


def draw_features(sight: Sight) -> Panel:
    """Draw a row for each image: the image, then the map of each layer, of many layers evenly chosen."""
    runs = [read_layers(sight.model, sight.parts, images) for images in sight.batches(sight.album.shown)]
    count = len(runs[0])
    chosen = choose_evenly(count, MOST_LAYERS if sight.width == SINGLE else MOST_LAYERS // 2 + 1)
    rows = [[picture] for picture in sight.pictures]
    shares: list[Sequence[float]] = []
    for place in chosen:
        layer = runs[0][place]
        cells = torch.cat([run[place].patches for run in runs]).cpu().double().numpy()
        colors, explained = to_colors(cells)
        shares.append(explained.tolist())
        for row, image in zip(rows, colors, strict=True):
            row.append(to_bytes(image.reshape(*layer.grid, 3)))
    names = [runs[0][place].name for place in chosen]
    board = draw_table(rows, ["image", *names], sight.width, sight.names)
    last = sum(shares[-1])
    numbers = {"layers": [{"name": name, "explained": share} for name, share in zip(names, shares, strict=True)]}
    summary = f"three components hold {100 * sum(shares[0]):.0f} % of the variance in {names[0]}, {100 * last:.0f} % in {names[-1]}"
    return Panel(board, summary, numbers)

"""Where images lie among each other in the eyes of a model: its pooled features in two dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vit_cli.inspect.album import Album, Groups
from vit_cli.inspect.board import GAP, LINE, SINGLE, WIDE, Board, Panel
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.style import shorten
from vit_cli.inspect.tiles import HEAT, Numbers, draw_bar, limits_of

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#111111", "#b8a900", "#882255", "#8c6d46")
"""Okabe & Ito's, which everybody can tell apart, and more; each goes with a mark of its own."""
MARKS = "os^DvPX"
OTHERS = "#c4c8cf"
ALL, MOST = 20, 12
"""Up to `ALL` classes have a colour each; of more, the `MOST` most frequent."""
LONGEST = 24
FEWEST = 8


def lack_images(album: Album) -> str:
    """Say why there is nothing to draw; nothing if there is."""
    return "" if len(album.images) >= FEWEST else f"a projection takes {FEWEST} images or more, not {len(album.images)}"


@torch.inference_mode()
def read_features(sight: Sight) -> Numbers:
    """Give what the head sees of each image (n, d)."""
    return torch.cat([sight.model.features(images).float().cpu() for images in sight.batches()]).double().numpy()


def project(features: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Lay features (n, d) out by PCA and by t-SNE, each (n, 2); also give the share of variance of both components.

    Features that are all alike stay in one place.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if (features == features[0]).all():
        return np.zeros((len(features), 2)), np.zeros((len(features), 2)), np.zeros(2)
    linear = PCA(2, svd_solver="full")
    places = linear.fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)
    spread = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    return places, spread.fit_transform(features), linear.explained_variance_ratio_


def choose_groups(groups: Sequence[str]) -> list[str]:
    """Choose the groups that get a colour: all of a few, else the most frequent; in the order of their frequency."""
    counts = Counter(sorted(groups)).most_common()
    return [name for name, _ in counts[: ALL if len(counts) <= ALL else MOST]]


def draw_projection(sight: Sight) -> Panel:
    """Draw both projections, coloured by class."""
    places, spread, explained = project(read_features(sight))
    groups, images = sight.album.groups, len(places)
    is_wide = sight.width == SINGLE
    side = sight.width // 2 if is_wide else sight.width
    height = round(side * 0.8)
    board = Board(sight.width)
    views = [
        (f"PCA: the two axes hold {100 * explained.sum():.0f} % of the variance", places),
        ("t-SNE: neighbours stay neighbours", spread),
    ]
    for place, (title, points) in enumerate(views):
        x, y = (place * side, 0) if is_wide else (0, place * height)
        draw = partial(draw_points, points=points, groups=groups, title=title)
        board.frame(x, y + LINE, side - 2 * GAP, height - LINE - GAP, draw)
    if isinstance(groups, np.ndarray):
        board.stack(draw_bar(limits_of(groups), sight.album.told_by, sight.width, form="{:.4g}"))
    elif groups is not None:
        board.stack(draw_legend(groups, sight.width))
    told = f", coloured by {sight.album.told_by}" if groups is not None else ""
    numbers = {
        "explained": explained.tolist(),
        "pca": np.round(places, 4).tolist(),
        "tsne": np.round(spread, 3).tolist(),
        "groups": None if groups is None else list(groups),
    }
    return Panel(
        board, f"{images} images{told}; two components hold {100 * explained.sum():.0f} % of the variance", numbers
    )


def draw_points(axes: Axes, points: Numbers, groups: Groups, title: str) -> None:
    """Draw a point for each image."""
    axes.set_title(title)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.set_aspect("equal", adjustable="datalim")
    if isinstance(groups, np.ndarray):
        axes.scatter(points[:, 0], points[:, 1], c=groups, cmap=HEAT, s=18, linewidths=0)
        return
    chosen = [] if groups is None else choose_groups(groups)
    names = np.array(["" for _ in points] if groups is None else groups)
    rest = points[~np.isin(names, chosen)]
    axes.plot(*rest.T, "o", color=OTHERS, markersize=3.5, markeredgewidth=0)
    for place, name in enumerate(chosen):
        axes.plot(*points[names == name].T, linestyle="", **mark(place))


def mark(place: int) -> dict[str, Any]:
    """Give the colour and the mark of the group at a place; no other has both."""
    color, kind = COLORS[place % len(COLORS)], MARKS[place % len(MARKS)]
    return {"color": color, "marker": kind, "markersize": 5, "markeredgewidth": 0.4, "markeredgecolor": "white"}


def draw_legend(groups: Sequence[str], width: int) -> Board:
    """Name the groups that have a colour, with their number of images, and count the others."""
    chosen, counts = choose_groups(groups), Counter(groups)
    order = sorted(chosen) if len(counts) <= ALL else chosen
    labels = [f"{shorten(name, LONGEST)} ({counts[name]})" for name in order]
    handles = [Line2D([], [], linestyle="", **mark(chosen.index(name))) for name in order]
    rest = len(counts) - len(chosen)
    if rest:
        labels.append(f"{rest} other classes ({sum(counts.values()) - sum(counts[name] for name in chosen)})")
        handles.append(Line2D([], [], linestyle="", marker="o", color=OTHERS))
    columns = max(1, min(len(labels), int(width / (max(map(len, labels)) * WIDE + 70))))
    rows = -(-len(labels) // columns)

    def draw(axes: Axes) -> None:
        axes.axis("off")
        axes.legend(
            handles,
            labels,
            loc="upper left",
            ncols=columns,
            bbox_to_anchor=(0, 1),
            borderaxespad=0,
            borderpad=0,
            handlelength=1,
            columnspacing=1.5,
        )

    board = Board(width)
    board.frame(0, 0, width, round(rows * LINE * 1.15), draw)
    return board

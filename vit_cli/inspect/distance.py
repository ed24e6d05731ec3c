"""How far heads look: the mean distance that attention spans, in pixels (ViT, appendix D.7 and figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from vit_cli.inspect.attention import watching
from vit_cli.inspect.board import SINGLE, Board, Panel
from vit_cli.inspect.parts import Lattice
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.style import BLUE, FAINT, ORANGE, mark_layers
from vit_cli.inspect.tiles import Numbers


def measure_distances(lattice: Lattice) -> Tensor:
    """Give the distance of every two patches, from centre to centre, in pixels (n, n)."""
    rows, columns = (torch.arange(side) * step for side, step in zip(lattice.grid, lattice.step, strict=True))
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2).double()
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def mean_distance(weights: Tensor, distances: Tensor, prefix: int) -> Tensor:
    """Average the distances (n, n) over keys by attention (b, h, prefix + n, prefix + n), then over queries: (b, h).

    Rows and columns of the first `prefix` tokens are left out and the rest is not brought to a sum of 1 again, so what
    patches pay to these tokens lowers the distance.
    """
    among = weights[:, :, prefix:, prefix:].double()
    return (among * distances.to(among.device)).sum(dim=-1).mean(dim=-1)


@torch.inference_mode()
def average_distances(sight: Sight, modules: Sequence[nn.Module], lattice: Lattice, prefix: int) -> Tensor:
    """Average each head's distance over all images (and all patches, for words): (layers, heads), in pixels."""
    distances, count = measure_distances(lattice), 0
    sums: dict[int, Tensor] = {}

    def see(place: int, weights: Tensor) -> None:
        nonlocal count
        found = mean_distance(weights, distances, prefix).sum(dim=0)
        sums[place] = sums[place] + found if place in sums else found
        count += len(weights) if place == 0 else 0

    with watching(modules, see):
        for images in sight.batches():
            sight.model.features(images)
    return torch.stack([sums[place] for place in range(len(modules))]).cpu() / count


def draw_distance(sight: Sight) -> Panel:
    """Draw a dot for each head over layers, beside what attention would span that is spread evenly."""
    parts = sight.parts
    levels = [("outer attention, among patches", parts.attention, sight.lattice, parts.prefix)]
    if parts.word_lattice is not None:
        levels.append(("inner attention, among the words of a patch", parts.words, parts.word_lattice, 0))
    board, numbers = Board(sight.width), {"unit": "pixels", "renormalised": False, "images": len(sight.album.images)}
    said = ""
    for name, modules, lattice, prefix in levels:
        found = average_distances(sight, modules, lattice, prefix)
        evenly = float(measure_distances(lattice).mean())
        part = Board(sight.width)
        height = 520 if sight.width == SINGLE else 440
        part.plot(0, 0, sight.width, height, partial(draw_dots, found=found.numpy(), evenly=evenly, side=lattice.side))
        board.stack(part, name.capitalize() if parts.words else "")
        numbers[name.split()[0]] = {"layers": found.tolist(), "evenly": evenly}
        means = found.mean(dim=1)
        said = (
            said
            or f"{means[0]:.1f} px in the first layer, {means[-1]:.1f} px in the last; evenly spread {evenly:.1f} px"
        )
    return Panel(board, f"{said} ({len(sight.album.images)} images)", numbers)


def draw_dots(axes: Axes, found: Numbers, evenly: float, side: int) -> None:
    """Draw (layers, heads) of distances; equal image sides give equal axes."""
    layers = np.arange(1, len(found) + 1)
    axes.axhline(evenly, color=ORANGE, linestyle="--", label="attention spread evenly")
    axes.plot(layers, found.mean(axis=1), color=FAINT, label="mean of the heads")
    axes.plot(layers.repeat(found.shape[1]), found.ravel(), "o", color=BLUE, alpha=0.65, label="a head")
    axes.set(xlabel="layer", ylabel="mean distance (pixels)", ylim=(0, max(0.62 * side, 1.08 * found.max())))
    mark_layers(axes, len(found))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)

"""What the first layer looks for (ViT, figure 7, left)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from vit_cli.inspect.board import SINGLE, Board, Panel
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.tiles import Numbers, fit_tile, rescale, resize, tile, to_bytes
from vit_cli.models.backbone import StdConv
from vit_cli.models.classifier import Classifier
from vit_cli.models.layers import PatchEmbedding
from vit_cli.section import Grid

COMPONENTS = 28
"""As in the paper's figure."""
KERNELS = 64


def find_kernels(model: Classifier) -> tuple[Numbers, bool]:
    """Give the kernels that meet the image (count, rows, columns, 3), and whether they cut it into patches."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.standardised() if isinstance(module, StdConv) else module.weight
            return lay_out(weight), tuple(module.stride) == tuple(module.kernel_size)
        if isinstance(module, PatchEmbedding) and not hasattr(module, "backbone"):
            side = module.patch
            return lay_out(module.projection.weight.unflatten(1, (-1, side, side))), True
    raise TypeError(f"{type(model).__name__} has no first layer that inspect knows")


def lay_out(kernels: Tensor) -> Numbers:
    """(count, 3, rows, columns) -> (count, rows, columns, 3)."""
    return kernels.detach().permute(0, 2, 3, 1).cpu().double().numpy()


def find_components(kernels: Numbers, most: int = COMPONENTS) -> tuple[Numbers, Numbers]:
    """Give the principal components of kernels (count, rows, columns, 3), the largest first, and each one's share of the variance.

    There are at most as many as kernels have numbers, and one less than kernels, whose mean is taken off.
    """
    from sklearn.decomposition import PCA

    flat = kernels.reshape(len(kernels), -1)
    found = PCA(min(most, flat.shape[1], len(flat) - 1), svd_solver="full").fit(flat)
    return found.components_.reshape(-1, *kernels.shape[1:]), found.explained_variance_ratio_


def draw_filters(sight: Sight) -> Panel:
    """Draw the principal components of a patch projection's kernels, or the kernels of a convolution, each min-max normalised.

    Where images are grey, no more than the sum over channels of a kernel acts or learns, so that is what is drawn.
    """
    kernels, is_patches = find_kernels(sight.model)
    is_grey = sight.album.is_grey
    if is_grey:
        kernels = kernels.sum(axis=-1, keepdims=True)
    numbers: dict[str, Any] = {"kernels": len(kernels), "size": list(kernels.shape[1:3]), "channels_added": is_grey}
    if is_patches:
        shown, shares = find_components(kernels)
        numbers |= {"components": len(shown), "explained": shares.tolist()}
        summary = (
            f"{len(shown)} principal components of {len(kernels)} kernels hold {100 * shares.sum():.0f} % of their variance, "
            f"the first {100 * shares[0]:.0f} %"
        )
    else:
        order = np.argsort(-np.linalg.norm(kernels.reshape(len(kernels), -1), axis=1), kind="stable")
        shown = kernels[order[:KERNELS]]
        side = "x".join(map(str, kernels.shape[1:3]))
        summary = f"{len(shown)} of {len(kernels)} kernels of the first convolution, {side}, the strongest first"
    if is_grey:
        shown = shown.repeat(3, axis=-1)
        summary += " (channels added up: the images are grey)"
    most = (14 if is_patches else 16) // (1 if sight.width == SINGLE else 2)
    columns = -(-len(shown) // -(-len(shown) // most))
    size = fit_tile(Grid(*shown.shape[1:3]), min(96, sight.width // most - 8))
    board = Board(sight.width)
    board.lay(0, 0, tile([resize(to_bytes(rescale(kernel)), size) for kernel in shown], columns, gap=6))
    return Panel(board, summary, numbers)

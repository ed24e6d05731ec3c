"""What each layer makes of images: tokens, or the cells of a map.   b images, n patches, d width."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vit_cli.inspect.parts import Parts
from vit_cli.models.classifier import Classifier
from vit_cli.section import Grid


class Layer(NamedTuple):
    """What comes out of a layer: the tokens before the patches (b, p, d), and the patches or cells (b, n, d) of a grid."""

    name: str
    prefix: Tensor
    patches: Tensor
    grid: Grid


@torch.inference_mode()
def read_layers(model: Classifier, parts: Parts, images: Tensor) -> list[Layer]:
    """Run a model on images (b, 3, rows, columns), as it takes them, and give what comes out of each layer."""
    found: list[Layer] = []

    def keep(name: str, output: Any) -> None:
        found.append(split(name, output[1] if isinstance(output, tuple) else output, parts))

    def make_hook(name: str) -> Any:
        def hook(_module: nn.Module, _arguments: Any, output: Any) -> None:
            keep(name, output)

        return hook

    seen, model.seen = model.seen, None  # all tokens of the last block are looked at
    handles = [module.register_forward_hook(make_hook(name)) for name, module in parts.layers.items()]
    try:
        model.features(images)
    finally:
        model.seen = seen
        for handle in handles:
            handle.remove()
    return found


def split(name: str, output: Tensor, parts: Parts) -> Layer:
    """Tell patches from what comes before them, or lay the cells of a map (b, c, rows, columns) out in a row."""
    if output.ndim == 4:
        cells = output.flatten(2).transpose(1, 2)
        return Layer(name, cells[:, :0], cells, Grid(*output.shape[2:]))
    if parts.lattice is None:
        raise TypeError(f"{name} gives tokens of no grid")
    return Layer(name, output[:, : parts.prefix], output[:, parts.prefix :], parts.lattice.grid)

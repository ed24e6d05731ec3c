"""Training in less memory: what a block leaves for the backward pass is worked out again (Chen et al., 2016).

In float32 a block of a ViT leaves about 17 numbers for each feature of each token, 9 of them in its MLP.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch.utils.checkpoint import checkpoint

from vit_cli.models.classifier import Classifier

Recompute = Literal["none", "mlp", "blocks"]


def recompute(model: Classifier, what: Recompute) -> None:
    """Have the blocks of `model` keep less, from now on: all but their MLPs' numbers, or nothing but what goes in.

    The backward pass then goes forwards again through what was not kept, with the same dropout, so results are equal to
    the bit: once more through the first layer of each MLP (`mlp`, 1/9 of all products), or through everything (`blocks`, 1/3).
    Raises ValueError for a model without blocks.
    """
    if what == "none":
        return
    if not hasattr(model, "blocks"):
        raise ValueError(f"{type(model).__name__} has no blocks of attention and MLP.")
    for module in model.blocks if what == "blocks" else model.blocks.modules():
        name = "forward" if what == "blocks" else "think"
        if hasattr(module, name):
            setattr(module, name, partial(checkpoint, getattr(module, name), use_reentrant=False))

"""torch.compile, applied to every block or to the whole model."""

from __future__ import annotations

import torch
from torch import nn

from vit_cli.models.classifier import Classifier
from vit_cli.recipe.schema import Compile

MOST_CODES = 10_000
"""Shapes, rates of stochastic depth and the like that code may be compiled for."""


def compile_model(model: Classifier, how: Compile) -> nn.Module:
    """Give what to call in place of `model`, which keeps its parameters and their names.

    Each size of image and batch is compiled for itself. `blocks` compiles one block, and all others of its kind use the
    code, but for a last one that works out less; sums over processes can then go on beside the passes backwards of the
    blocks before. `model` compiles everything at once, which takes many times as long. `auto` compiles nothing, so far: on
    CPUs it gains little (docs/speed/step.md), on GPUs it has not been measured.
    """
    if how in ("off", "auto"):
        return model
    # Beyond torch's limits new shapes would run as they are, and a run that is resumed there would end otherwise.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MOST_CODES
    if how == "model":
        compiled: nn.Module = torch.compile(model, dynamic=False)
        return compiled
    for block in model.blocks:
        block.forward = torch.compile(block.forward, dynamic=False)
    return model

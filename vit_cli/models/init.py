"""The first weights of a Vision Transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vit_cli.models.layers import Attention, MapHead, Mlp, MlpHead, PatchEmbedding
from vit_cli.models.positions import LearnedPositions

# A normal distribution cut at two standard deviations is this much narrower (jax.nn.initializers.variance_scaling).
CUT_NORMAL_STD = 0.87962566103423978


def initialise(model: nn.Module) -> None:
    """Give a model Google's first weights (vit_jax and big_vision; q, k and v each on their own, as there).

    | part                        | weights                                 | biases       |
    |-----------------------------|-----------------------------------------|--------------|
    | patch embedding, mlp head   | LeCun normal, cut at 2 sigma            | 0            |
    | q, k, v, out                | Xavier uniform, each (d, d) on its own  | 0            |
    | MLP                         | Xavier uniform                          | N(0, 1e-6)   |
    | positions                   | N(0, 0.02), prefix tokens too           |              |
    | class token                 | 0                                       |              |
    | MAP probe                   | Xavier uniform                          |              |
    | LayerNorm                   | 1                                       | 0            |

    The last layer of a head is made zero by the model itself, which knows its starting bias.
    """
    for module in model.modules():
        if isinstance(module, PatchEmbedding):
            lecun_normal(module.projection)
        elif isinstance(module, MlpHead):
            lecun_normal(module.hidden)
        elif isinstance(module, Attention):
            xavier_parts(module.qkv, 3)
            xavier_parts(module.out, 1)
        elif isinstance(module, Mlp):
            for layer in (module.fc1, module.fc2):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)
        elif isinstance(module, MapHead):
            nn.init.xavier_uniform_(module.probe[0])
            for layer, parts in ((module.q, 1), (module.kv, 2), (module.out, 1)):
                xavier_parts(layer, parts)
        elif isinstance(module, LearnedPositions):
            for table in module.parameters():
                nn.init.normal_(table, std=0.02)


def lecun_normal(layer: nn.Linear) -> None:
    """Draw kernels with variance 1 / inputs from a cut normal distribution; zero bias."""
    std = math.sqrt(1 / layer.in_features) / CUT_NORMAL_STD
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)


def xavier_parts(layer: nn.Linear, parts: int) -> None:
    """Draw each of `parts` kernels that share a layer as if it stood alone; zero bias."""
    kernels: list[Tensor] = list(layer.weight.chunk(parts))
    with torch.no_grad():
        for kernel in kernels:
            nn.init.xavier_uniform_(kernel)
        nn.init.zeros_(layer.bias)

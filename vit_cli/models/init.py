"""The first weights of a Vision Transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vit_cli.models.attention import Attention
from vit_cli.models.heads import MapHead, MlpHead
from vit_cli.models.layers import Mlp, PatchEmbedding, SwiGlu
from vit_cli.models.positions import Positions
from vit_cli.models.relative import RelativeBias

# A normal distribution cut at two standard deviations is this much narrower (jax.nn.initializers.variance_scaling).
CUT_NORMAL_STD = 0.87962566103423978


def initialise(model: nn.Module) -> None:
    """Give a model Google's first weights (vit_jax and big_vision; q, k and v each on their own, as there).

    | part                        | weights                                 | biases       |
    |-----------------------------|-----------------------------------------|--------------|
    | patch embedding, mlp head   | LeCun normal, cut at 2 sigma            | 0            |
    | q, k, v, out                | Xavier uniform, each (d, d) on its own  | 0            |
    | MLP, SwiGLU                 | Xavier uniform, gate and value apart    | N(0, 1e-6)   |
    | positions, relative bias    | N(0, 0.02), prefix tokens too           |              |
    | class token                 | 0                                       |              |
    | MAP probe                   | Xavier uniform                          |              |
    | LayerNorm                   | 1                                       | 0            |

    What is not here starts where it is made: LayerScale at the recipe's value, registers at N(0, 1e-6) (DINOv2), and the
    last layer of a head at zero, with its starting bias.
    """
    for module in model.modules():
        if isinstance(module, PatchEmbedding):
            lecun_normal(module.projection)
        elif isinstance(module, MlpHead):
            lecun_normal(module.hidden)
        elif isinstance(module, Attention):
            xavier_parts(module.qkv, 3)
            xavier_parts(module.out, 1)
        elif isinstance(module, Mlp | SwiGlu):
            for layer, parts in ((module.fc1, 2 if isinstance(module, SwiGlu) else 1), (module.fc2, 1)):
                xavier_parts(layer, parts)
                nn.init.normal_(layer.bias, std=1e-6)
        elif isinstance(module, MapHead):
            nn.init.xavier_uniform_(module.probe[0])
            for layer, parts in ((module.q, 1), (module.kv, 2), (module.out, 1)):
                xavier_parts(layer, parts)
        elif isinstance(module, Positions | RelativeBias):
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
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

"""The ResNet before a hybrid's transformer: standardised kernels, GroupNorm, activations after the sum (BiT; ViT, section 3.1)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vit_cli.models.init import CUT_NORMAL_STD
from vit_cli.section import Positive, Section

Convention = Literal["flax", "timm"]
GROUPS = 32
"""Groups of channels that GroupNorm treats together."""


class Backbone(Section):
    """A ResNet by its units per stage; with no stage it is the stem alone, which halves an image twice."""

    blocks: tuple[Positive, ...] = Field(description="units of each stage; every stage after the first halves the map")
    width: int = Field(64, gt=0, multiple_of=GROUPS, description="channels of the stem")

    @property
    def stride(self) -> int:
        """Pixels on a side of one cell of the feature map."""
        return 4 * 2 ** max(len(self.blocks) - 1, 0)

    def build(self, convention: Convention) -> StdResNet:
        """Make the network with its first weights, drawn from torch's global generator."""
        return StdResNet(self.blocks, self.width, convention)


BackboneName = Literal["r50_16", "r26_32", "r50_32", "stem"]
# ViT, section 4.1: a ResNet-50 whose fourth stage moved into the third, or with all four; "How to train your ViT?",
# table 1: R26 and the stem alone (vit_jax, configs/models.py). The number is the stride.
BACKBONES: dict[BackboneName, Backbone] = {
    "r50_16": Backbone(blocks=(3, 4, 9)),
    "r26_32": Backbone(blocks=(2, 2, 2, 2)),
    "r50_32": Backbone(blocks=(3, 4, 6, 3)),
    "stem": Backbone(blocks=()),
}


class StdConv(nn.Conv2d):
    """A convolution whose kernels are brought to mean 0 and deviation 1 first (Qiao et al., 2019), padded as in TensorFlow.

    Google divides by std + 1e-5 (vit_jax, models_resnet.py), timm by sqrt(var + 1e-8).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, convention: Convention = "flax"
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)
        self.convention = convention

    def reset_parameters(self) -> None:
        """Draw kernels with variance 1 / inputs from a cut normal distribution (flax's LeCun normal)."""
        std = math.sqrt(1 / self.weight[0].numel()) / CUT_NORMAL_STD
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, rows, columns) -> (b, outputs, ceil(rows / stride), ceil(columns / stride))."""
        x, padding = pad_as_tensorflow(x, self.kernel_size[0], self.stride[0])
        return F.conv2d(x, self.standardised(), stride=self.stride, padding=padding)

    def standardised(self) -> Tensor:
        """Give the kernels (outputs, inputs, rows, columns) that the image meets, each of mean 0 and deviation 1."""
        if self.convention == "timm":  # with timm's operation, for equal roundings add up over fifty layers
            kernels = self.weight.reshape(1, len(self.weight), -1)
            return F.batch_norm(kernels, None, None, training=True, eps=1e-8).reshape_as(self.weight)
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (self.weight - mean) / (var.sqrt() + 1e-5)


def pad_as_tensorflow(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """Do the uneven part of TensorFlow's "SAME" padding to (b, c, rows, columns); give what is left to do on all sides.

    Where the padding of an axis is odd, its end gets the larger part.
    """
    rows, columns = (max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    if rows % 2 or columns % 2:
        x = F.pad(x, (0, columns % 2, 0, rows % 2), value=value)
    return x, (rows // 2, columns // 2)


def make_norm(channels: int, convention: Convention) -> nn.GroupNorm:
    """Make the GroupNorm of a convention: epsilon is flax's default of 1e-6, or timm's 1e-5."""
    return nn.GroupNorm(GROUPS, channels, eps=1e-6 if convention == "flax" else 1e-5)


class Root(nn.Module):
    """A wide convolution and a max-pool, which halve an image each."""

    def __init__(self, width: int, convention: Convention) -> None:
        super().__init__()
        self.conv = StdConv(3, width, 7, stride=2, convention=convention)
        self.norm = make_norm(width, convention)

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, rows, columns) -> (b, width, rows / 4, columns / 4)."""
        x, padding = pad_as_tensorflow(F.relu(self.norm(self.conv(images))), 3, 2, value=-math.inf)
        return F.max_pool2d(x, 3, stride=2, padding=padding)


class Shortcut(nn.Module):
    """Bring what goes past a unit to the unit's channels and stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, convention: Convention) -> None:
        super().__init__()
        self.conv = StdConv(inputs, outputs, 1, stride, convention)
        self.norm = make_norm(outputs, convention)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, rows, columns) -> (b, outputs, rows / stride, columns / stride)."""
        passed: Tensor = self.norm(self.conv(x))
        return passed


class Unit(nn.Module):
    """Narrow, look around, widen, add (He et al., 2016); starts as no more than its shortcut, for the last norm is zero."""

    def __init__(self, inputs: int, inner: int, stride: int, shortcut: bool, convention: Convention) -> None:
        super().__init__()
        outputs = 4 * inner
        self.conv1 = StdConv(inputs, inner, 1, convention=convention)
        self.norm1 = make_norm(inner, convention)
        self.conv2 = StdConv(inner, inner, 3, stride, convention)
        self.norm2 = make_norm(inner, convention)
        self.conv3 = StdConv(inner, outputs, 1, convention=convention)
        self.norm3 = make_norm(outputs, convention)
        nn.init.zeros_(self.norm3.weight)
        self.shortcut = Shortcut(inputs, outputs, stride, convention) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, rows, columns) -> (b, 4 inner, rows / stride, columns / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.shortcut(x) + self.norm3(self.conv3(y)))


class StdResNet(nn.Module):
    """The root and stages of units; the stride comes with the first unit of a stage, but for the first stage."""

    def __init__(self, blocks: tuple[int, ...], width: int, convention: Convention = "flax") -> None:
        super().__init__()
        self.root = Root(width, convention)
        self.channels = width
        stages = []
        for number, count in enumerate(blocks):
            inner = width * 2**number
            first = Unit(self.channels, inner, 2 if number else 1, shortcut=True, convention=convention)
            self.channels = 4 * inner
            rest = (Unit(self.channels, inner, 1, shortcut=False, convention=convention) for _ in range(count - 1))
            stages.append(nn.Sequential(first, *rest))
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, rows, columns) -> (b, channels, rows / stride, columns / stride)."""
        features: Tensor = self.stages(self.root(images))
        return features

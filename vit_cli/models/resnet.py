"""Residual networks (He et al., 2016; torchvision's form, whose 3x3 convolution has the stride) as a baseline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, prod
from typing import Literal, NamedTuple

from pydantic import Field, model_validator
from torch import Tensor, nn

from vit_cli.errors import TrainingError
from vit_cli.models.classifier import Classifier
from vit_cli.models.flops import count_each
from vit_cli.section import Grid, Positive, Res, Section, as_grid


class Depth(NamedTuple):
    """How many times its inner channels a block gives (1 a basic block, 4 a bottleneck), and the blocks of each stage."""

    expansion: int
    blocks: tuple[int, ...]


# Deep Residual Learning, table 1.
DEPTHS: dict[Literal[18, 34, 50, 101, 152], Depth] = {
    18: Depth(1, (2, 2, 2, 2)),
    34: Depth(1, (3, 4, 6, 3)),
    50: Depth(4, (3, 4, 6, 3)),
    101: Depth(4, (3, 4, 23, 3)),
    152: Depth(4, (3, 8, 36, 3)),
}


class Resnet(Section):
    """A ResNet of a published depth.

    ResNeXt-50 32x4d is size 50 with groups 32 and group_width 4, Wide ResNet-50-2 with group_width 128.
    """

    name: Literal["resnet"] = "resnet"
    size: Literal[18, 34, 50, 101, 152] = 50
    blocks: tuple[Positive, ...] | None = Field(None, min_length=1, description="of each stage; overrides the size's")
    width: Positive = Field(64, description="channels of the stem; every stage after the first doubles them")
    groups: Positive = Field(1, description="groups of a block's 3x3 convolution, from size 50 on")
    group_width: Positive = Field(64, description="its channels in a group of the first stage, at width 64")
    res: Res = 224
    small_stem: bool = Field(False, description="for small images: a 3x3 convolution without stride, no max-pool")

    @model_validator(mode="after")
    def groups_fit(self) -> Resnet:
        if self.size < 50 and (self.groups, self.group_width) != (1, 64):
            raise ValueError(f"groups and group_width are for size 50 and more, not {self.size}")
        inner = int(self.width * (self.group_width / 64)) * self.groups
        if not inner:
            raise ValueError(f"group_width {self.group_width} leaves no channel at width {self.width}")
        return self

    def position_grids(self) -> dict[str, Grid]:
        """Name nothing: a convolution needs no positions."""
        return {}

    def build(self, classes: int) -> ResNet:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without head."""
        depth = DEPTHS[self.size]
        return ResNet(
            classes,
            depth._replace(blocks=self.blocks or depth.blocks),
            as_grid(self.res),
            width=self.width,
            groups=self.groups,
            group_width=self.group_width,
            small_stem=self.small_stem,
        )


class ResNet(Classifier):
    """A stem, stages of torchvision's blocks under torchvision's names, the mean over all cells, classes.

    First weights are He's normal ones. The last norm of every block starts at zero (Goyal et al., 2017), and so does the
    last layer: the first loss is ln K. In training, BatchNorm goes by the images that pass at once on this process.
    """

    def __init__(
        self,
        classes: int,
        depth: Depth,
        res: Grid,
        width: int = 64,
        groups: int = 1,
        group_width: int = 64,
        small_stem: bool = False,
    ) -> None:
        from torchvision.models import resnet  # takes seconds to import

        super().__init__()
        self.head_names = ("fc.",)
        self.stages = [f"layer{number + 1}" for number in range(len(depth.blocks))]
        self.layers = len(self.stages) + 1
        kernel, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_stem else nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        block = resnet.BasicBlock if depth.expansion == 1 else resnet.Bottleneck
        for number, count in enumerate(depth.blocks):
            planes = width * 2**number
            make = partial(block, planes=planes, groups=groups, base_width=group_width)
            stage = make_stage(make, channels, planes * depth.expansion, count, halves=number > 0)
            self.add_module(self.stages[number], stage)
            channels = planes * depth.expansion
        self.fc = nn.Linear(channels, classes) if classes else nn.Identity()
        initialise(self)
        self.stride = (1 if small_stem else 4) * 2 ** (len(self.stages) - 1)
        self.tokens = prod(ceil(side / self.stride) for side in res)
        self.operations = count_each(self, res)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 3, rows, columns), normalised -> logits (b, classes)."""
        logits: Tensor = self.fc(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Images (b, 3, rows, columns) -> the mean over all cells of the last map (b, d), what the head sees."""
        if self.training and len(images) == 1 and max(images.shape[-2:]) <= self.stride:
            raise TrainingError(
                "BatchNorm can't learn from one image at a time whose last map is a single cell",
                "Give it more: a larger train.micro_batch or train.batch_size, or a larger model.res.",
            )
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))

    def layer_of(self, name: str) -> int:
        """The stem is layer 0, stage i is layer i, the head is the last."""
        part = name.partition(".")[0]
        if part in self.stages:
            return self.stages.index(part) + 1
        return self.layers if part == "fc" else 0

    def flops(self) -> int:
        """Count a forward pass of one image: convolutions and dense layers only, a multiply-add as two."""
        return sum(self.operations)

    def stem_flops(self) -> int:
        """Count the first convolution."""
        return self.operations[0]


def make_stage(make: Callable[..., nn.Module], inputs: int, outputs: int, count: int, halves: bool) -> nn.Sequential:
    """Put `count` blocks in a row; the first brings `inputs` channels to `outputs`, and may halve the map."""
    stride = 2 if halves else 1
    shortcut = None
    if halves or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = make(inputs, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(make(outputs) for _ in range(count - 1)))


def initialise(model: ResNet) -> None:
    """Draw kernels by their outputs (He et al., 2015); make the last norm of every block, and the last layer, zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif hasattr(module, "bn2"):
            nn.init.zeros_(getattr(module, "bn3", module.bn2).weight)
    for parameter in model.fc.parameters():
        nn.init.zeros_(parameter)

"""ConvNeXt (Liu et al., 2022, "A ConvNet for the 2020s"; torchvision's modules) as a baseline."""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from vit_cli.models.classifier import Classifier
from vit_cli.models.flops import count_each
from vit_cli.section import Grid, Positive, Res, Section, Share, as_grid


class ConvNextSize(NamedTuple):
    """Blocks of each stage, and channels of the first; every stage after it doubles them."""

    blocks: tuple[int, ...]
    width: int


# A ConvNet for the 2020s, section 3.
CONVNEXT_SIZES: dict[Literal["tiny", "small", "base", "large"], ConvNextSize] = {
    "tiny": ConvNextSize((3, 3, 9, 3), 96),
    "small": ConvNextSize((3, 3, 27, 3), 96),
    "base": ConvNextSize((3, 3, 27, 3), 128),
    "large": ConvNextSize((3, 3, 27, 3), 192),
}


class Convnext(Section):
    """A ConvNeXt of a published size; its blocks and its width may be others."""

    name: Literal["convnext"] = "convnext"
    size: Literal["tiny", "small", "base", "large"] = "tiny"
    blocks: tuple[Positive, ...] | None = Field(None, min_length=1, description="of each stage; overrides the size's")
    width: Positive | None = Field(None, description="channels of the first stage; overrides the size's")
    res: Res = 224
    small_stem: bool = Field(False, description="for small images: a 3x3 convolution without stride")
    drop_path: Share = 0.0
    layer_scale: PositiveFloat = Field(1e-6, description="first value of what scales each block")

    @property
    def dimensions(self) -> ConvNextSize:
        """Blocks and width, from the size and what overrides it."""
        base = CONVNEXT_SIZES[self.size]
        return ConvNextSize(self.blocks or base.blocks, self.width or base.width)

    @model_validator(mode="after")
    def sizes_fit(self) -> Convnext:
        if sum(self.dimensions.blocks) < 2:
            raise ValueError("a ConvNeXt has two blocks or more")
        least = stride(self.dimensions, self.small_stem)
        if min(as_grid(self.res)) < least:
            hint = "fewer stages" if self.small_stem else "small_stem=true"
            raise ValueError(f"res {as_grid(self.res)} leaves nothing of an image; it takes {least} pixels, or {hint}")
        return self

    def position_grids(self) -> dict[str, Grid]:
        """Name nothing: a convolution needs no positions."""
        return {}

    def build(self, classes: int) -> ConvNeXt:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without head."""
        return ConvNeXt(
            classes,
            self.dimensions,
            as_grid(self.res),
            small_stem=self.small_stem,
            drop_path=self.drop_path,
            layer_scale=self.layer_scale,
        )


def stride(size: ConvNextSize, small_stem: bool) -> int:
    """Count the pixels on a side of one cell of the last map."""
    return (1 if small_stem else 4) * 2 ** (len(size.blocks) - 1)


class ConvNeXt(Classifier):
    """torchvision's network under torchvision's names, behind `network.`, with a last layer that starts at zero."""

    def __init__(
        self,
        classes: int,
        size: ConvNextSize,
        res: Grid,
        small_stem: bool = False,
        drop_path: float = 0.0,
        layer_scale: float = 1e-6,
    ) -> None:
        from torchvision.models import convnext  # takes seconds to import

        super().__init__()
        self.head_names = ("network.classifier.2.",)
        self.layers = len(size.blocks) + 1
        widths = [size.width * 2**number for number in range(len(size.blocks))]
        stages = [
            convnext.CNBlockConfig(*stage) for stage in zip(widths, [*widths[1:], None], size.blocks, strict=True)
        ]
        self.network = convnext.ConvNeXt(stages, drop_path, layer_scale, num_classes=classes or 1)
        if small_stem:
            stem = nn.Conv2d(3, size.width, 3, padding=1)
            nn.init.trunc_normal_(stem.weight, std=0.02)
            nn.init.zeros_(stem.bias)
            self.network.features[0][0] = stem
        if classes:
            nn.init.zeros_(self.network.classifier[2].weight)
        else:
            self.network.classifier[2] = nn.Identity()
        self.tokens = prod(side // stride(size, small_stem) for side in res)
        self.operations = count_each(self, res)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 3, rows, columns), normalised -> logits (b, classes)."""
        logits: Tensor = self.network(images)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Images (b, 3, rows, columns) -> the normalised mean over all cells of the last map (b, d), what the head sees."""
        norm, flatten, _ = self.network.classifier
        pooled: Tensor = flatten(norm(self.network.avgpool(self.network.features(images))))
        return pooled

    def layer_of(self, name: str) -> int:
        """The stem is layer 0, stage i with what halves the map before it is layer i, norm and head are the last."""
        _, part, number, *_ = name.split(".")
        if part == "classifier":
            return self.layers
        return int(number) // 2 + 1 if number != "0" else 0

    def flops(self) -> int:
        """Count a forward pass of one image: convolutions and dense layers only, a multiply-add as two."""
        return sum(self.operations)

    def stem_flops(self) -> int:
        """Count the first convolution."""
        return self.operations[0]

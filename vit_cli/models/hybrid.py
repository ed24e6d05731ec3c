"""The hybrid of the Vision Transformer (Dosovitskiy et al., 2021, section 3.1): its patches come from a ResNet's feature map."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from vit_cli.models.backbone import BACKBONES, Backbone, BackboneName, Convention, StdResNet
from vit_cli.models.flops import count_each
from vit_cli.models.layers import PatchEmbedding
from vit_cli.models.vit import ViT
from vit_cli.models.vit_fields import VitFields
from vit_cli.section import Grid, Positive, Res, Section, as_grid, check_multiple


class WithBackbone(Section):
    """The keys that stand before those of a Vision Transformer, for `res` to be checked against them."""

    backbone: BackboneName | Backbone = Field("r50_16", description="a ResNet of the papers with its stride, or any")
    convention: Convention = Field("flax", description="small constants of Google's code, or those of timm")

    @property
    def resnet(self) -> Backbone:
        """The backbone's section, also where it was named."""
        return find_backbone(self.backbone)


class Hybrid(VitFields, WithBackbone):
    """A Vision Transformer on the feature map of a ResNet.

    R50+ViT-B/16 is size base with backbone r50_16, R26+ViT-S/32 small with r26_32, R50+ViT-L/32 large with r50_32;
    R+ViT-Ti/16, whose tokens are of 32 pixels in truth, is tiny with backbone stem and patch 8.
    """

    name: Literal["hybrid"] = "hybrid"
    patch: Positive = Field(1, description="cells of the feature map on a side of a patch")

    @field_validator("res")
    @classmethod
    def res_fits_patch(cls, res: Res, info: ValidationInfo) -> Res:
        if not {"backbone", "patch"} <= info.data.keys():
            return res  # what is wrong with them is said already
        pixels = find_backbone(info.data["backbone"]).stride * info.data["patch"]
        return check_multiple(res, pixels, f"{pixels}, the pixels on a side of a token")

    @property
    def pixels(self) -> int:
        """Pixels of the image on a side of a token."""
        return self.resnet.stride * self.patch

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        rows, columns = as_grid(self.res)
        return Grid(rows // self.pixels, columns // self.pixels)

    def build(self, classes: int) -> HybridViT:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without head."""
        return HybridViT(**self.parts(classes))

    def parts(self, classes: int) -> dict[str, Any]:
        """Make the arguments of the network."""
        network = self.resnet.build(self.convention)
        embedding = MapEmbedding(network, self.patch, self.dimensions.width, as_grid(self.res))
        return super().parts(classes) | {"patch": self.pixels, "embedding": embedding}


def find_backbone(choice: BackboneName | Backbone) -> Backbone:
    """Give the section of a backbone that may be named."""
    return choice if isinstance(choice, Backbone) else BACKBONES[choice]


class MapEmbedding(PatchEmbedding):
    """Patches of a ResNet's feature map, each projected."""

    def __init__(self, backbone: StdResNet, patch: int, width: int, res: Grid) -> None:
        super().__init__(patch, backbone.channels, width)
        self.backbone = backbone
        self.operations = count_each(backbone, res)

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, rows, columns) -> (b, n, d), row by row."""
        return super().forward(self.backbone(images))


class HybridViT(ViT):
    """A ViT whose embedding begins with a ResNet."""

    def flops(self, drop_tokens: float = 0.0) -> int:
        """Count a forward pass of one image: convolutions and matrix products only, a multiply-add as two."""
        return super().flops(drop_tokens) + sum(self.embedding.operations)

    def stem_flops(self) -> int:
        """Count the first convolution."""
        return self.embedding.operations[0]

"""Where in a model is what the pictures show: its attention, its layers, its grid of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from vit_cli.models.cct import CCT
from vit_cli.models.classifier import Classifier
from vit_cli.models.convnext import ConvNeXt
from vit_cli.models.resnet import ResNet
from vit_cli.models.tnt import TNT
from vit_cli.models.vit import ViT
from vit_cli.models.vit_fields import Pool
from vit_cli.section import Grid

Reads = Literal["class token", "mean", "pooling"]
READS: dict[Pool, Reads] = {"cls": "class token", "cls_gap": "class token", "gap": "mean", "map": "pooling"}


@dataclass(frozen=True)
class Lattice:
    """A grid of patches, or of words in a patch, and the pixels from one to the next in each direction."""

    grid: Grid
    step: Grid

    @property
    def side(self) -> int:
        """The longer side of all, in pixels."""
        return max(self.grid.rows * self.step.rows, self.grid.columns * self.step.columns)

    @property
    def patches(self) -> int:
        return self.grid.rows * self.grid.columns


@dataclass(frozen=True)
class Parts:
    """The parts of a model.

    `layers` give tokens (b, prefix + patches, d), TNT's as the second of two, or maps (b, c, rows, columns). `attention`
    has the outer attention of each layer, `words` the inner one. The head reads the class token, the mean over patches, or
    what `pooling` makes of them by an attention of its own.
    """

    layers: Mapping[str, nn.Module]
    attention: Sequence[nn.Module] = ()
    lattice: Lattice | None = None
    prefix: int = 0
    words: Sequence[nn.Module] = ()
    word_lattice: Lattice | None = None
    reads: Reads = "mean"
    pooling: nn.Module | None = None


def find_parts(model: Classifier) -> Parts:
    """Find the parts of any model that a recipe can name."""
    if isinstance(model, ViT):
        step = Grid(model.patch, model.patch)
        return Parts(
            number(model.blocks),
            [block.attention for block in model.blocks],
            Lattice(model.grid, step),
            model.prefix,
            reads=READS[model.pooling],
            pooling=model.pool,
        )
    if isinstance(model, TNT):
        return Parts(
            number(model.blocks),
            [block.outer.attention for block in model.blocks],
            Lattice(model.grid, Grid(model.patch, model.patch)),
            1,
            [block.inner.attention for block in model.blocks],
            Lattice(model.words, Grid(model.embedding.word, model.embedding.word)),
            reads="class token",
        )
    if isinstance(model, CCT):
        form = model.embedding.form
        stride = (form.stride * (2 if form.max_pool else 1)) ** form.number
        return Parts(
            number(model.blocks),
            [block.attention for block in model.blocks],
            Lattice(Grid(*map(form.reduce, model.res)), Grid(stride, stride)),
            int(model.cls is not None),
            reads="pooling" if model.cls is None else "class token",
            pooling=model.pool,
        )
    return Parts(find_stages(model))


def number(blocks: nn.ModuleList) -> dict[str, nn.Module]:
    """Name blocks by their place, from 1."""
    return {f"layer {place}": block for place, block in enumerate(blocks, start=1)}


def find_stages(model: Classifier) -> dict[str, nn.Module]:
    """Name the stem and the stages of a convolutional model. Raises TypeError for a model that it does not know."""
    if isinstance(model, ResNet):
        return {"stem": model.maxpool} | {
            f"stage {place}": model.get_submodule(name) for place, name in enumerate(model.stages, start=1)
        }
    if isinstance(model, ConvNeXt):
        stages = model.network.features
        return {"stem": stages[0]} | {f"stage {place // 2 + 1}": stages[place] for place in range(1, len(stages), 2)}
    raise TypeError(f"{type(model).__name__} is not known to inspect")

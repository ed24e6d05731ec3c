"""The Vision Transformer (Dosovitskiy et al., 2021, "An Image is Worth 16x16 Words")."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveFloat, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from vit_cli.models.classifier import Classifier
from vit_cli.models.init import initialise
from vit_cli.models.layers import Block, Gelu, MapHead, MlpHead, PatchEmbedding
from vit_cli.models.positions import FixedPositions, LearnedPositions, NoPositions
from vit_cli.models.sizes import SIZES, Size, SizeName
from vit_cli.section import Grid, Positive, Res, Section, Share, as_grid


class Vit(Section):
    """A plain Vision Transformer: a published `size`, or any width, depth and heads."""

    name: Literal["vit"] = "vit"
    size: SizeName | None = None
    width: Positive | None = Field(None, description="width of a token; overrides the size's")
    depth: Positive | None = Field(None, description="number of blocks; overrides the size's")
    heads: Positive | None = Field(None, description="attention heads; overrides the size's")
    mlp: Positive | None = Field(None, description="width inside the MLP; the size's, else 4 x width")
    patch: Positive = 16
    res: Res = Field(224, validate_default=True)
    channels: Literal[3] = 3
    pool: Literal["cls", "gap", "map"] = "cls"
    head: Literal["linear", "mlp"] = "linear"
    head_width: Positive | None = Field(None, description="hidden width of an mlp head; the model's width if left out")
    head_activation: Literal["tanh", "gelu"] = "tanh"
    head_bias: float = Field(0.0, description="starting bias of the classes, e.g. -6.9 for binary cross entropy")
    positions: Literal["learned", "sincos2d", "none"] = "learned"
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    drop_path: Share = 0.0
    drop_path_rule: Literal["linear", "constant"] = "linear"
    norm_eps: PositiveFloat = 1e-6
    gelu: Gelu = "tanh"

    @field_validator("res")
    @classmethod
    def res_fits_patch(cls, res: Res, info: ValidationInfo) -> Res:
        patch = info.data.get("patch", 1)
        for side in as_grid(res):
            if side % patch:
                below, above = side // patch * patch, (side // patch + 1) * patch
                near = f"the nearest are {below} and {above}" if below else f"the nearest is {above}"
                raise ValueError(f"{side} is not a multiple of patch {patch}; {near}")
        return res

    @model_validator(mode="after")
    def dimensions_fit(self) -> Vit:
        if self.size is None and None in (self.width, self.depth, self.heads):
            raise ValueError("give a size, or all of width, depth and heads")
        dims = self.dimensions
        if dims.width % dims.heads:
            raise ValueError(f"width {dims.width} does not divide into {dims.heads} heads")
        if self.positions == "sincos2d" and dims.width % 4:
            raise ValueError(f"sincos2d positions need a width that is a multiple of 4, not {dims.width}")
        return self

    @property
    def dimensions(self) -> Size:
        """Width, depth, MLP width and heads, from the size and what overrides it."""
        base = SIZES[self.size] if self.size else Size(0, 0, 0, 0)
        width = self.width or base.width
        mlp = self.mlp or (base.mlp if base.mlp and self.width is None else 4 * width)
        return Size(width, self.depth or base.depth, mlp, self.heads or base.heads)

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        rows, columns = as_grid(self.res)
        return Grid(rows // self.patch, columns // self.patch)

    def position_grids(self) -> dict[str, Grid]:
        """Name the weights that are tables over a grid, to be stretched for another resolution."""
        return {"positions.table": self.grid} if self.positions == "learned" else {}

    def build(self, classes: int) -> ViT:
        """Make the model with its first weights, drawn from torch's global generator."""
        dims = self.dimensions
        return ViT(
            classes=classes,
            grid=self.grid,
            patch=self.patch,
            channels=self.channels,
            width=dims.width,
            depth=dims.depth,
            heads=dims.heads,
            mlp=dims.mlp,
            pool=self.pool,
            head_width=None if self.head == "linear" else (self.head_width or dims.width),
            head_activation=self.head_activation,
            head_bias=self.head_bias,
            positions=self.positions,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            drop_path=self.drop_path,
            drop_path_rule=self.drop_path_rule,
            norm_eps=self.norm_eps,
            gelu=self.gelu,
        )


class ViT(Classifier):
    """Patches, positions, blocks, a LayerNorm, one pooled token, classes.

    Average pooling comes after the last LayerNorm, as at Google. The last layer starts at zero, so the first loss is ln K.
    """

    def __init__(
        self,
        classes: int,
        grid: Grid,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mlp: int,
        channels: int = 3,
        pool: Literal["cls", "gap", "map"] = "cls",
        head_width: int | None = None,
        head_activation: Literal["tanh", "gelu"] = "tanh",
        head_bias: float = 0.0,
        positions: Literal["learned", "sincos2d", "none"] = "learned",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        drop_path_rule: Literal["linear", "constant"] = "linear",
        norm_eps: float = 1e-6,
        gelu: Gelu = "tanh",
    ) -> None:
        super().__init__()
        self.grid, self.patch, self.width, self.mlp_width = grid, patch, width, mlp
        self.layers = depth + 1
        self.head_names = ("head.",)
        self.embedding = PatchEmbedding(patch, channels, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width)) if pool == "cls" else None
        self.positions: nn.Module
        if positions == "learned":
            self.positions = LearnedPositions(grid, prefix=1 if pool == "cls" else 0, width=width)
        else:
            self.positions = FixedPositions(grid, width) if positions == "sincos2d" else NoPositions()
        self.dropout = nn.Dropout(dropout)
        rates = [drop_path * (i / max(depth - 1, 1) if drop_path_rule == "linear" else 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp, dropout, attention_dropout, rate, norm_eps, gelu) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.pool = MapHead(width, heads, mlp, norm_eps, gelu) if pool == "map" else None
        self.head = MlpHead(width, head_width, classes, head_activation) if head_width else nn.Linear(width, classes)
        self.tokens = grid.rows * grid.columns + (self.cls is not None)
        initialise(self)
        last = self.head.classes if isinstance(self.head, MlpHead) else self.head
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, head_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns), normalised -> logits (b, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> one pooled token each (b, d), what the head sees."""
        x = self.encode(images)
        if self.pool is not None:
            pooled: Tensor = self.pool(x)
            return pooled
        return x[:, 0] if self.cls is not None else x.mean(dim=1)

    def encode(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> tokens after the last LayerNorm (b, n, d), the class token first."""
        self.check_shape(images)
        x = self.dropout(self.positions(self.embedding(images), self.cls))
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.norm(x)
        return tokens

    def check_shape(self, images: Tensor) -> None:
        """Raise ValueError for images of another size than the positions are for."""
        expected = (self.grid.rows * self.patch, self.grid.columns * self.patch)
        if tuple(images.shape[-2:]) != expected:
            raise ValueError(f"images of {Grid(*images.shape[-2:])} for a model of {Grid(*expected)} pixels.")

    def layer_of(self, name: str) -> int:
        """Embedding, class token and positions are layer 0, block i is layer i + 1, norm and head are the last."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith(("embedding.", "positions.", "cls")) else self.layers

    def decays(self, name: str, parameter: Tensor) -> bool:
        """Kernels decay; biases, norms, positions, class token and probe do not (big_vision, optax.py)."""
        return name.endswith(".weight") and parameter.ndim >= 2

    def flops(self) -> int:
        """Count a forward pass of one image: matrix products only, a multiply-add as two."""
        n, d = self.tokens, self.width
        patches = self.grid.rows * self.grid.columns
        block = n * (4 * d * d + 2 * d * self.mlp_width) + 2 * n * n * d
        pool = n * 2 * d * d + 2 * d * d + 2 * n * d + 2 * d * self.mlp_width if self.pool is not None else 0
        head = sum(p.numel() for p in self.head.parameters() if p.ndim == 2)
        return 2 * (patches * self.embedding.projection.weight.numel() + len(self.blocks) * block + pool + head)

"""Compact transformers for small data (Hassani et al., 2021): a convolutional tokenizer, and pooling over the sequence."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor, nn

from vit_cli.models.cct_layers import CctBlock, Convolutions, SequencePool, SequencePositions, Tokenizer
from vit_cli.models.classifier import Classifier
from vit_cli.models.flops import count_each
from vit_cli.models.positions import LearnedPositions
from vit_cli.models.sizes import Size
from vit_cli.section import Grid, Positive, Res, Section, Share, as_grid

CctSizeName = Literal["cct_2", "cct_4", "cct_6", "cct_7", "cct_14"]
# The authors' code, src/cct.py.
CCT_SIZES: dict[CctSizeName, Size] = {
    "cct_2": Size(width=128, depth=2, mlp=128, heads=2),
    "cct_4": Size(width=128, depth=4, mlp=128, heads=2),
    "cct_6": Size(width=256, depth=6, mlp=512, heads=4),
    "cct_7": Size(width=256, depth=7, mlp=512, heads=4),
    "cct_14": Size(width=384, depth=14, mlp=1152, heads=6),
}


class Cct(Section):
    """A compact transformer; CCT-7/3x1 is size cct_7, kernel 3, convolutions 1.

    With tokenizer `patch`, which projects patches of `kernel` pixels, it is the paper's CVT, and with pool `cls` besides
    its ViT-Lite. `sincos` positions are places in the sequence, row by row.
    """

    name: Literal["cct"] = "cct"
    size: CctSizeName | None = None
    width: Positive | None = Field(None, description="width of a token; overrides the size's")
    depth: Positive | None = Field(None, description="number of blocks; overrides the size's")
    heads: Positive | None = Field(None, description="attention heads; overrides the size's")
    mlp: Positive | None = Field(None, description="width inside the MLP; the size's, else 2 x width")
    tokenizer: Literal["convolution", "patch"] = "convolution"
    kernel: Positive = Field(3, description="side of a convolution's kernel, or of a patch, in pixels")
    convolutions: Positive = Field(1, description="how many convolutions in a row")
    stride: Positive | None = Field(None, description="of a convolution; kernel // 2 - 1, but at least 1, if left out")
    padding: NonNegativeInt | None = Field(
        None, description="of a convolution; kernel // 2, but at least 1, if left out"
    )
    max_pool: bool = Field(True, description="halve the map after each convolution")
    res: Res = 32
    channels: Literal[3] = 3
    pool: Literal["seq", "cls"] = Field("seq", description="a learned weighted mean of all tokens, or a class token")
    positions: Literal["learned", "sincos", "none"] = "learned"
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    drop_path: Share = 0.0
    norm_eps: PositiveFloat = 1e-5

    @model_validator(mode="after")
    def dimensions_fit(self) -> Cct:
        if self.size is None and None in (self.width, self.depth, self.heads):
            raise ValueError("give a size, or all of width, depth and heads")
        dims = self.dimensions
        if dims.width % dims.heads:
            raise ValueError(f"width {dims.width} does not divide into {dims.heads} heads")
        return self

    @model_validator(mode="after")
    def tokenizer_fits(self) -> Cct:
        if self.tokenizer == "patch":
            if (self.convolutions, self.stride, self.padding, self.max_pool) != (1, None, None, True):
                raise ValueError("a patch tokenizer has a kernel, but no convolutions, stride, padding or max_pool")
            if any(side % self.kernel for side in as_grid(self.res)):
                raise ValueError(f"{as_grid(self.res)} pixels do not divide into patches of kernel {self.kernel}")
        if 0 in self.grid:
            raise ValueError(f"{as_grid(self.res)} pixels are too few for the tokenizer: they give it no token")
        return self

    @property
    def dimensions(self) -> Size:
        """Width, depth, MLP width and heads, from the size and what overrides it."""
        base = CCT_SIZES[self.size] if self.size else Size(0, 0, 0, 0)
        width = self.width or base.width
        mlp = self.mlp or (base.mlp if base.mlp and self.width is None else 2 * width)
        return Size(width, self.depth or base.depth, mlp, self.heads or base.heads)

    @property
    def form(self) -> Convolutions:
        """The tokenizer's convolutions, with what is left out filled in as the authors do."""
        kernel = self.kernel
        if self.tokenizer == "patch":
            return Convolutions(kernel, stride=kernel, padding=0, relu=False, max_pool=False)
        stride = self.stride or max(kernel // 2 - 1, 1)
        padding = max(kernel // 2, 1) if self.padding is None else self.padding
        return Convolutions(kernel, stride, padding, self.convolutions, max_pool=self.max_pool)

    @property
    def grid(self) -> Grid:
        """Rows and columns of tokens."""
        return Grid(*(self.form.reduce(side) for side in as_grid(self.res)))

    def position_grids(self) -> dict[str, Grid]:
        """Name the weights that are tables over a grid, to be stretched for another resolution."""
        return {"positions.table": self.grid} if self.positions == "learned" else {}

    def build(self, classes: int) -> CCT:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without head."""
        return CCT(
            classes=classes,
            res=as_grid(self.res),
            form=self.form,
            size=self.dimensions,
            channels=self.channels,
            pool=self.pool,
            positions=self.positions,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            drop_path=self.drop_path,
            norm_eps=self.norm_eps,
        )


class CCT(Classifier):
    """Tokens from convolutions, positions, blocks, a LayerNorm, one pooled token, classes.

    First weights are the authors': He's normal for convolutions, for dense layers normal with deviation 0.02 and zero
    biases, for positions normal with deviation 0.2. Only the last layer differs: it starts at zero, so the first loss is
    ln K. The bias of `pool.score` moves all scores alike: it is theirs, but changes nothing.

    | here                                | authors (after `classifier.`, but for the tokenizer)           |
    |-------------------------------------|----------------------------------------------------------------|
    | embedding.convolutions.i            | tokenizer.conv_layers.i.0                                      |
    | positions.table, a cls's .prefix    | positional_emb (a class token's comes first; sine: not weights)|
    | cls                                 | class_emb                                                      |
    | blocks.i.norm1, .norm2              | blocks.i.pre_norm, .norm1                                      |
    | blocks.i.attention.qkv, .out        | blocks.i.self_attn.qkv, .proj                                  |
    | blocks.i.mlp.fc1, .fc2              | blocks.i.linear1, .linear2                                     |
    | norm, pool.score, head              | norm, attention_pool, fc                                       |
    """

    def __init__(
        self,
        classes: int,
        res: Grid,
        form: Convolutions,
        size: Size,
        channels: int = 3,
        pool: Literal["seq", "cls"] = "seq",
        positions: Literal["learned", "sincos", "none"] = "learned",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        width, depth, mlp, heads = size
        self.res, self.size = res, size
        self.layers, self.width = depth + 1, width
        self.head_names = ("head.",)
        grid, prefix = Grid(*map(form.reduce, res)), int(pool == "cls")
        self.tokens, self.seen = prefix + grid.rows * grid.columns, prefix or None
        self.embedding = Tokenizer(form, channels, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width)) if prefix else None
        self.positions: nn.Module = nn.Identity()
        if positions != "none":
            kind = LearnedPositions if positions == "learned" else SequencePositions
            self.positions = kind(grid, prefix, width)
        self.dropout = nn.Dropout(dropout)
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            CctBlock(width, heads, mlp, dropout, attention_dropout, rate, norm_eps) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.pool = None if prefix else SequencePool(width)
        self.head = nn.Linear(width, classes) if classes else nn.Identity()
        initialise(self)
        self.operations = count_each(self.embedding, res)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns), normalised -> logits (b, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> one pooled token each (b, d), what the head sees."""
        x = self.encode(images, self.seen)
        pooled: Tensor = x[:, 0] if self.pool is None else self.pool(x)
        return pooled

    def encode(self, images: Tensor, first: int | None = None) -> Tensor:
        """Images (b, channels, rows, columns) -> tokens after the last LayerNorm (b, n, d), a class token first.

        The `first` tokens alone are worked out if that is asked for.
        """
        if tuple(images.shape[-2:]) != self.res:
            raise ValueError(f"images of {Grid(*images.shape[-2:])} for a model of {self.res} pixels.")
        x = self.embedding(images)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.dropout(self.positions(x))
        for block in self.blocks:
            x = block(x, first if block is self.blocks[-1] else None)
        tokens: Tensor = self.norm(x)
        return tokens

    def flops(self) -> int:
        """Count a forward pass of one image: convolutions and matrix products only, a multiply-add as two."""
        n, d = self.tokens, self.size.width
        block = n * (4 * d * d + 2 * d * self.size.mlp) + 2 * n * n * d
        pool = 0 if self.pool is None else 2 * n * d
        head = sum(p.numel() for p in self.head.parameters() if p.ndim == 2)
        return sum(self.operations) + 2 * (len(self.blocks) * block + pool + head)

    def stem_flops(self) -> int:
        """Count the first convolution."""
        return self.operations[0]


def initialise(model: CCT) -> None:
    """Draw the first weights."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, LearnedPositions):
            for table in module.parameters():
                nn.init.trunc_normal_(table, std=0.2)
    for parameter in model.head.parameters():
        nn.init.zeros_(parameter)

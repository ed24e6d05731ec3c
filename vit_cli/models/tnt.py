"""Transformer in Transformer (Han et al., 2021): an inner transformer over the words of each patch, an outer one over patches."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field, PositiveFloat, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from vit_cli.models.classifier import Classifier
from vit_cli.models.positions import LearnedPositions
from vit_cli.models.tnt_layers import Fold, Level, WordEmbedding
from vit_cli.section import Grid, Positive, Res, Section, Share, as_grid, check_multiple


class TntSize(NamedTuple):
    """Width and heads of the inner transformer, of the outer one, and the number of blocks."""

    inner_width: int
    inner_heads: int
    width: int
    heads: int
    depth: int


# TNT, table 1. The authors' code has small and base only.
TNT_SIZES: dict[Literal["tiny", "small", "base"], TntSize] = {
    "tiny": TntSize(12, 2, 192, 3, 12),
    "small": TntSize(24, 4, 384, 6, 12),
    "base": TntSize(40, 4, 640, 10, 12),
}


class Tnt(Section):
    """A Transformer in Transformer: a published `size`, or any widths, heads and depth.

    `word` is the side of the inner sub-patches in pixels. `legacy` is the form of the first release, whose weights are
    other ones: words look across their patch's border, and patches are made of them without a second LayerNorm.
    """

    name: Literal["tnt"] = "tnt"
    size: Literal["tiny", "small", "base"] | None = None
    inner_width: Positive | None = Field(None, description="width of a word; overrides the size's")
    inner_heads: Positive | None = Field(None, description="attention heads among words; overrides the size's")
    width: Positive | None = Field(None, description="width of a patch's token; overrides the size's")
    heads: Positive | None = Field(None, description="attention heads among patches; overrides the size's")
    depth: Positive | None = Field(None, description="number of blocks; overrides the size's")
    patch: Positive = 16
    word: Positive = Field(4, validate_default=True, description="side of a patch's inner sub-patches, in pixels")
    res: Res = Field(224, validate_default=True)
    channels: Literal[3] = 3
    legacy: bool = False
    positions: Literal["both", "outer", "inner", "none"] = Field("both", description="of patches, of words, or of both")
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    drop_path: Share = 0.0
    norm_eps: PositiveFloat = 1e-5

    @field_validator("word")
    @classmethod
    def word_fits_patch(cls, word: int, info: ValidationInfo) -> int:
        patch = info.data.get("patch", word)
        if patch % word:
            raise ValueError(f"patch {patch} does not divide into words of {word} pixels")
        return word

    @field_validator("res")
    @classmethod
    def res_fits_patch(cls, res: Res, info: ValidationInfo) -> Res:
        patch = info.data.get("patch", 1)
        return check_multiple(res, patch, f"patch {patch}")

    @model_validator(mode="after")
    def dimensions_fit(self) -> Tnt:
        dims = self.dimensions
        if 0 in dims:
            raise ValueError("give a size, or all of inner_width, inner_heads, width, heads and depth")
        for kind, width, heads in (("inner_", dims.inner_width, dims.inner_heads), ("", dims.width, dims.heads)):
            if width % heads:
                raise ValueError(f"{kind}width {width} does not divide into {heads} {kind}heads")
        return self

    @property
    def dimensions(self) -> TntSize:
        """Widths, heads and depth, from the size and what overrides it; 0 for what neither tells."""
        base = TNT_SIZES[self.size] if self.size else TntSize(0, 0, 0, 0, 0)
        return TntSize(*(getattr(self, name) or value for name, value in base._asdict().items()))

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        rows, columns = as_grid(self.res)
        return Grid(rows // self.patch, columns // self.patch)

    @property
    def word_grid(self) -> Grid:
        """Rows and columns of a patch's words."""
        return Grid(self.patch // self.word, self.patch // self.word)

    def position_grids(self) -> dict[str, Grid]:
        """Name the weights that are tables over a grid, to be stretched for another resolution, patch or word."""
        grids = {"outer": self.grid, "inner": self.word_grid}
        return {f"{kind}_positions.table": grid for kind, grid in grids.items() if self.positions in ("both", kind)}

    def build(self, classes: int) -> TNT:
        """Make the model with its first weights, drawn from torch's global generator; 0 classes for one without head."""
        return TNT(
            classes=classes,
            grid=self.grid,
            patch=self.patch,
            word=self.word,
            size=self.dimensions,
            channels=self.channels,
            legacy=self.legacy,
            positions=self.positions,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            drop_path=self.drop_path,
            norm_eps=self.norm_eps,
        )


class TntBlock(nn.Module):
    """Words look at their patch's words, patches take them in, patches look at patches."""

    def __init__(
        self,
        words: int,
        size: TntSize,
        legacy: bool,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.inner = Level(size.inner_width, size.inner_heads, dropout, attention_dropout, drop_path, norm_eps)
        self.fold = Fold(words, size.inner_width, size.width, bias=legacy, legacy=legacy, norm_eps=norm_eps)
        self.outer = Level(size.width, size.heads, dropout, attention_dropout, drop_path, norm_eps)

    def forward(self, words: Tensor, x: Tensor, first: int | None = None) -> tuple[Tensor, Tensor]:
        """Words (b * n, m, c) and tokens (b, 1 + n, d), the class token first -> the same shapes, or the `first` tokens alone."""
        words = self.inner(words)
        cls, patches = x[:, :1], x[:, 1:]
        patches = patches + self.fold(words, patches.shape[1])
        return words, self.outer(torch.cat([cls, patches], dim=1), first)


class TNT(Classifier):
    """Words, patches made of them, a class token, blocks, a LayerNorm, classes.

    First weights are the authors': normal with deviation 0.02 and zero biases, torch's own for the convolution. Only
    the last layer differs: it starts at zero, so the first loss is ln K. Drop path leaves out whole patches in the inner
    transformer, as theirs. Their checkpoints also hold `outer_tokens` (1, n, d), which nothing ever uses or trains; it
    is not a part of this model, nor of its parameter count.

    | here                             | authors                         | timm                             |
    |----------------------------------|---------------------------------|----------------------------------|
    | embedding.projection             | patch_embed.proj                | pixel_embed.proj                 |
    | inner_positions.table (1, m, c)  | inner_pos                       | pixel_pos (1, c, rows, columns)  |
    | outer_positions.prefix (1, 1, d) | outer_pos[:, :1]                | patch_pos[:, :1]                 |
    | outer_positions.table (1, n, d)  | outer_pos[:, 1:]                | patch_pos[:, 1:]                 |
    | cls                              | cls_token                       | cls_token                        |
    | fold.norm1, .projection, .norm2  | proj_norm1, proj, proj_norm2    | norm1_proj, proj, norm2_proj     |
    | blocks.i.fold.(the same)         | blocks.i.(the same)             | blocks.i.(the same)              |
    | blocks.i.inner.norm1, .norm2     | blocks.i.inner_norm1, _norm2    | blocks.i.norm_in, .norm_mlp_in   |
    | blocks.i.inner.attention.qk, .v  | blocks.i.inner_attn.qk, .v      | blocks.i.attn_in.qk, .v          |
    | blocks.i.inner.attention.out     | blocks.i.inner_attn.proj        | blocks.i.attn_in.proj            |
    | blocks.i.inner.mlp.fc1, .fc2     | blocks.i.inner_mlp.fc1, .fc2    | blocks.i.mlp_in.fc1, .fc2        |
    | blocks.i.outer.norm1, .norm2     | blocks.i.outer_norm1, _norm2    | blocks.i.norm_out, .norm_mlp     |
    | blocks.i.outer.attention, .mlp   | blocks.i.outer_attn, _mlp       | blocks.i.attn_out, .mlp          |
    | norm, head                       | norm, head                      | norm, head                       |
    """

    def __init__(
        self,
        classes: int,
        grid: Grid,
        patch: int,
        word: int,
        size: TntSize,
        channels: int = 3,
        legacy: bool = False,
        positions: Literal["both", "outer", "inner", "none"] = "both",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.grid, self.patch, self.words = grid, patch, Grid(patch // word, patch // word)
        words = self.words.rows * self.words.columns
        self.layers, self.width = size.depth + 1, size.inner_width
        self.head_names = ("head.",)
        self.tokens, self.seen = grid.rows * grid.columns + 1, 1
        self.embedding = WordEmbedding(patch, word, channels, size.inner_width, legacy)
        has_inner, has_outer = positions in ("both", "inner"), positions in ("both", "outer")
        self.inner_positions = LearnedPositions(self.words, 0, size.inner_width) if has_inner else nn.Identity()
        self.fold = Fold(words, size.inner_width, size.width, bias=True, legacy=False, norm_eps=norm_eps)
        self.cls = nn.Parameter(torch.zeros(1, 1, size.width))
        self.outer_positions = LearnedPositions(grid, 1, size.width) if has_outer else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        rates = [drop_path * i / max(size.depth - 1, 1) for i in range(size.depth)]
        self.blocks = nn.ModuleList(
            TntBlock(words, size, legacy, dropout, attention_dropout, rate, norm_eps) for rate in rates
        )
        self.norm = nn.LayerNorm(size.width, eps=norm_eps)
        self.head = nn.Linear(size.width, classes) if classes else nn.Identity()
        self.initialise()

    def initialise(self) -> None:
        """Draw the first weights."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, LearnedPositions):
                for table in module.parameters():
                    nn.init.trunc_normal_(table, std=0.02)
        nn.init.trunc_normal_(self.cls, std=0.02)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns), normalised -> logits (b, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> the class token (b, d), what the head sees."""
        return self.encode(images, self.seen)[:, 0]

    def encode(self, images: Tensor, first: int | None = None) -> Tensor:
        """Images (b, channels, rows, columns) -> tokens after the last LayerNorm (b, 1 + n, d), the class token first.

        The `first` tokens alone are worked out if that is asked for.
        """
        self.check_shape(images)
        words = self.inner_positions(self.embedding(images))
        patches = self.fold(words, self.tokens - 1)
        x = self.outer_positions(torch.cat([self.cls.expand(images.shape[0], -1, -1), patches], dim=1))
        x = self.dropout(x)
        for block in self.blocks:
            words, x = block(words, x, first if block is self.blocks[-1] else None)
        tokens: Tensor = self.norm(x)
        return tokens

    def check_shape(self, images: Tensor) -> None:
        """Raise ValueError for images of another size than the positions are for."""
        expected = Grid(self.grid.rows * self.patch, self.grid.columns * self.patch)
        if tuple(images.shape[-2:]) != expected:
            raise ValueError(f"images of {Grid(*images.shape[-2:])} for a model of {expected} pixels.")

    def flops(self) -> int:
        """Count a forward pass of one image: convolution and matrix products only, a multiply-add as two."""
        n, m, depth = self.tokens - 1, self.words.rows * self.words.columns, len(self.blocks)
        c, d = self.embedding.projection.out_channels, self.norm.normalized_shape[0]
        inner = n * (12 * m * c * c + 2 * m * m * c)
        outer = (n + 1) * 12 * d * d + 2 * (n + 1) ** 2 * d
        head = sum(p.numel() for p in self.head.parameters() if p.ndim == 2)
        return self.stem_flops() + 2 * ((depth + 1) * n * m * c * d + depth * (inner + outer) + head)

    def stem_flops(self) -> int:
        """Count the projection of pixels to words."""
        words = (self.tokens - 1) * self.words.rows * self.words.columns
        return 2 * words * self.embedding.projection.weight.numel()

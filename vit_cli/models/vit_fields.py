"""What a recipe says about a Vision Transformer, whether it holds together, and the parts that it is put together from."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, ValidationInfo, field_validator, model_validator
from torch import nn

from vit_cli.models.attention import Attention, Windows
from vit_cli.models.heads import MapHead, MlpHead
from vit_cli.models.layers import Block, Gelu, Mlp, PatchEmbedding, SwiGlu
from vit_cli.models.positions import (
    FixedPositions,
    Learned2dPositions,
    LearnedPositions,
    NoPositions,
    Positions,
    PositionsOfBlocks,
)
from vit_cli.models.relative import RelativeBias, offsets
from vit_cli.models.rope import Rope
from vit_cli.models.sizes import SIZES, Size, SizeName
from vit_cli.section import Grid, Positive, Res, Section, Share, as_grid, check_multiple

Pool = Literal["cls", "gap", "map", "cls_gap"]


class VitFields(Section):
    """The keys of a Vision Transformer and of what grows out of one, all but the name's."""

    extra_tokens: ClassVar[int] = 0
    """Tokens that a model has beside the class token, with a position like it."""

    name: str
    size: SizeName | None = Field(None, description="a published width, depth, heads and mlp (docs/models.md)")
    width: Positive | None = Field(None, description="width of a token; overrides the size's")
    depth: Positive | None = Field(None, description="number of blocks; overrides the size's")
    heads: Positive | None = Field(None, description="attention heads; overrides the size's")
    mlp: Positive | None = Field(
        None, description="width inside the MLP; the size's, else 4 x width; swiglu: 2/3 of it"
    )
    patch: Positive = Field(16, description="side of a patch in pixels")
    res: Res = Field(224, validate_default=True, description="pixels of an image; patch divides them")
    channels: Literal[3] = 3
    cls_token: bool | None = Field(None, description="have a class token; where the pool needs it if left out")
    cls_position: bool = Field(True, description="learned positions have one for the class token, too")
    registers: NonNegativeInt = Field(0, description="learned tokens without position or meaning (DINOv2: 4)")
    pool: Pool = Field(
        "cls", description="class token, mean of patches, attention of one query, or the first two side by side"
    )
    pool_norm: Literal["before", "after"] = Field(
        "before", description="the last LayerNorm: before pooling (Google) or after"
    )
    head: Literal["linear", "mlp"] = Field("linear", description="mlp: with one hidden layer, as ViT is pre-trained")
    head_width: Positive | None = Field(None, description="hidden width of an mlp head; the model's width if left out")
    head_activation: Literal["tanh", "gelu"] = Field("tanh", description="of an mlp head")
    head_bias: float = Field(0.0, description="starting bias of the classes, e.g. -6.9 for binary cross entropy")
    positions: Literal["learned", "learned2d", "sincos2d", "relative", "rope", "none"] = Field(
        "learned", description="how a token knows where it is; 2d: one part for the row, one for the column"
    )
    positions_at: Literal["stem", "layers", "shared"] | None = Field(
        None,
        description="once, before every block, or the same before every block; relative: layers if left out, else stem",
    )
    rope_base: float = Field(
        100.0, gt=1, description="how many times slower the slowest rotation of rope is than the fastest"
    )
    attention: Literal["full", "window", "axial"] = Field(
        "full", description="axial: rows and columns by turns, so that a size has twice its blocks (ViT, appendix D.6)"
    )
    window: Positive | None = Field(None, description="side of a window in patches")
    full_every: Positive | None = Field(None, description="every so many blocks one without windows")
    qkv_bias: bool = Field(True, description="queries, keys and values have a bias")
    qk_norm: bool = Field(False, description="normalise queries and keys (ViT-22B)")
    ffn: Literal["mlp", "swiglu"] = Field("mlp", description="what follows attention in a block")
    layer_scale: PositiveFloat | None = Field(
        None, description="first value of LayerScale (DINOv2: 1e-5, DeiT III: 1e-4)"
    )
    dropout: Share = Field(0.0, description="share of features that are dropped after the embedding and in blocks")
    attention_dropout: Share = Field(0.0, description="share of attention weights that are dropped")
    drop_path: Share = Field(0.0, description="rate of stochastic depth, in the last block")
    drop_path_rule: Literal["linear", "constant"] = Field(
        "linear", description="the rate rises from 0 in the first block, or is the same in all"
    )
    norm_eps: PositiveFloat = Field(1e-6, description="epsilon of LayerNorm")
    gelu: Gelu = Field("tanh", description="exact: by the error function; tanh: close to it")

    @field_validator("res")
    @classmethod
    def res_fits_patch(cls, res: Res, info: ValidationInfo) -> Res:
        patch = info.data.get("patch", 1)
        return check_multiple(res, patch, f"patch {patch}")

    @model_validator(mode="after")
    def dimensions_fit(self) -> VitFields:
        if self.size is None and None in (self.width, self.depth, self.heads):
            raise ValueError("give a size, or all of width, depth and heads")
        dims = self.dimensions
        if dims.width % dims.heads:
            raise ValueError(f"width {dims.width} does not divide into {dims.heads} heads")
        if self.positions == "rope" and dims.width // dims.heads % 4:
            raise ValueError(
                f"rope needs heads whose width is a multiple of 4; width {dims.width} in {dims.heads} heads is "
                f"{dims.width // dims.heads} each"
            )
        multiple = {"sincos2d": 4, "learned2d": 2}.get(self.positions, 1)
        if dims.width % multiple:
            raise ValueError(
                f"{self.positions} positions need a width that is a multiple of {multiple}, not {dims.width}"
            )
        return self

    @model_validator(mode="after")
    def tokens_fit(self) -> VitFields:
        if self.cls_token is False and self.pool in ("cls", "cls_gap"):
            raise ValueError(f"pool {self.pool} needs a class token; leave cls_token out, or set pool to gap or map")
        if self.pool == "cls_gap" and self.pool_norm == "after":
            raise ValueError("pool cls_gap puts two normalised tokens side by side; pool_norm is before with it")
        return self

    @model_validator(mode="after")
    def attention_fits(self) -> VitFields:
        if self.attention == "window" and self.window is None:
            raise ValueError("attention: window needs window, the side of a window in patches, such as model.window=7")
        if self.attention != "window" and self.window is not None:
            raise ValueError(f"window is for attention: window, and attention is {self.attention}")
        if self.full_every is not None and self.attention != "window":
            raise ValueError("full_every is for attention: window")
        if self.attention == "axial" and self.dimensions.depth % 2:
            raise ValueError(f"axial attention needs an even depth, rows then columns, not {self.dimensions.depth}")
        return self

    @model_validator(mode="after")
    def positions_fit(self) -> VitFields:
        if self.positions == "relative" and self.attention != "full":
            raise ValueError("relative positions are for attention: full; rope works with windows and axes, too")
        places = {
            "none": (),
            "rope": (),
            "relative": ("layers", "shared"),
            "sincos2d": ("stem", "shared"),
        }.get(self.positions, ("stem", "layers", "shared"))
        if self.positions_at is not None and self.positions_at not in places:
            can_be = " or ".join(places) if places else "left out"
            raise ValueError(
                f"positions_at {self.positions_at} means nothing with positions {self.positions}; it can be {can_be}"
            )
        return self

    @property
    def dimensions(self) -> Size:
        """Width, depth, MLP width and heads, from the size and what overrides it."""
        base = SIZES[self.size] if self.size else Size(0, 0, 0, 0)
        width = self.width or base.width
        depth = self.depth or base.depth * (2 if self.attention == "axial" else 1)
        mlp = base.mlp if base.mlp and self.width is None else 4 * width
        if self.ffn == "swiglu":  # as many weights in three kernels as in two (DINOv2, layers/swiglu_ffn.py)
            mlp = -(-(mlp * 2 // 3) // 8) * 8
        return Size(width, depth, self.mlp or mlp, self.heads or base.heads)

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        rows, columns = as_grid(self.res)
        return Grid(rows // self.patch, columns // self.patch)

    @property
    def has_cls(self) -> bool:
        """Tell whether there is a class token."""
        return self.pool in ("cls", "cls_gap") if self.cls_token is None else self.cls_token

    @property
    def prefix(self) -> int:
        """The number of tokens before the patches: class token, extra tokens, registers."""
        return self.has_cls + self.extra_tokens + self.registers

    @property
    def bound_by(self) -> str | None:
        """What binds the model to all patches of its grid, as a key and its value; None if it can do with others."""
        if self.attention != "full":
            return f"attention: {self.attention}"
        return "positions: relative" if self.positions == "relative" else None

    @property
    def feature_width(self) -> int:
        """The width of what the head sees."""
        return self.dimensions.width * (2 if self.pool == "cls_gap" else 1)

    def position_grids(self) -> dict[str, Grid]:
        """Name the weights that are tables over a grid, to be stretched for another resolution."""
        blocks = range(self.dimensions.depth)
        if self.positions == "relative":
            names = ["bias"] if self.positions_at == "shared" else [f"blocks.{i}.attention.bias" for i in blocks]
            return {f"{name}.table": offsets(self.grid) for name in names}
        kinds = {"learned": {"table": self.grid}}
        kinds["learned2d"] = {"rows": Grid(self.grid.rows, 1), "columns": Grid(1, self.grid.columns)}
        names = [f"positions.tables.{i}" for i in blocks] if self.positions_at == "layers" else ["positions"]
        return {f"{name}.{kind}": grid for name in names for kind, grid in kinds.get(self.positions, {}).items()}

    def parts(self, classes: int) -> dict[str, Any]:
        """Make the arguments of the network; a model that grows out of a plain one changes some."""
        return {
            "grid": self.grid,
            "patch": self.patch,
            "embedding": PatchEmbedding(self.patch, self.channels, self.dimensions.width),
            "has_cls": self.has_cls,
            "registers": self.registers,
            "prefix": self.prefix,
            "positions": self.make_positions(),
            "positions_shared": self.positions_at == "shared",
            "rope": self.make_rope(),
            "bias": self.make_bias() if self.positions_at == "shared" else None,
            "dropout": self.dropout,
            "blocks": self.make_blocks(),
            "norm": nn.LayerNorm(self.dimensions.width, eps=self.norm_eps),
            "norm_first": self.pool_norm == "before",
            "pool": self.pool,
            "map_head": self.make_pool(),
            "head": self.make_head(classes),
            "head_bias": self.head_bias,
        }

    def make_positions(self) -> nn.Module:
        """Make what adds positions to tokens, of the stem or of all blocks."""
        if self.positions_at == "layers" and self.positions != "relative":
            return PositionsOfBlocks([self.make_table() for _ in range(self.dimensions.depth)])
        return self.make_table() if self.positions in ("learned", "learned2d", "sincos2d") else NoPositions()

    def make_table(self) -> Positions:
        """Make one table of positions."""
        width = self.dimensions.width
        if self.positions == "sincos2d":
            return FixedPositions(self.grid, width)
        prefix = self.has_cls + self.extra_tokens if self.cls_position else 0
        return (LearnedPositions if self.positions == "learned" else Learned2dPositions)(self.grid, prefix, width)

    def make_rope(self) -> Rope | None:
        """Make the rotations of all blocks; None with other positions."""
        dims = self.dimensions
        if self.positions != "rope":
            return None
        return Rope(self.grid, self.prefix, dims.width // dims.heads, self.rope_base)

    def make_bias(self) -> RelativeBias | None:
        """Make the bias of relative positions, of one block or of all; None with other positions."""
        return RelativeBias(self.grid, self.prefix, self.dimensions.heads) if self.positions == "relative" else None

    def make_windows(self, block: int) -> Windows | None:
        """Make the windows that patches see in a block; None where they see everything."""
        if self.attention == "axial":
            window = Grid(self.grid.rows, 1) if block % 2 else Grid(1, self.grid.columns)
        elif self.window is None or (self.full_every and (block + 1) % self.full_every == 0):
            return None
        else:
            window = Grid(self.window, self.window)
        return Windows(self.grid, window, self.prefix)

    def make_blocks(self) -> list[Block]:
        """Make the blocks."""
        dims = self.dimensions
        linear = self.drop_path_rule == "linear"
        rates = [self.drop_path * (i / max(dims.depth - 1, 1) if linear else 1) for i in range(dims.depth)]
        return [
            Block(
                Attention(
                    dims.width,
                    dims.heads,
                    dropout=self.attention_dropout,
                    qkv_bias=self.qkv_bias,
                    qk_norm=self.qk_norm,
                    norm_eps=self.norm_eps,
                    bias=None if self.positions_at == "shared" else self.make_bias(),
                    windows=self.make_windows(i),
                ),
                SwiGlu(dims.width, dims.mlp, self.dropout)
                if self.ffn == "swiglu"
                else Mlp(dims.width, dims.mlp, self.dropout, self.gelu),
                dims.width,
                dropout=self.dropout,
                drop_path=rate,
                layer_scale=self.layer_scale,
                norm_eps=self.norm_eps,
            )
            for i, rate in enumerate(rates)
        ]

    def make_pool(self) -> MapHead | None:
        """Make the layer that pools by attention; None for a pool without weights."""
        dims = self.dimensions
        return MapHead(dims.width, dims.heads, dims.mlp, self.norm_eps, self.gelu) if self.pool == "map" else None

    def make_head(self, classes: int) -> nn.Module:
        """Make the layers from pooled tokens to logits; Identity for 0 classes."""
        if classes == 0:
            return nn.Identity()
        if self.head == "linear":
            return nn.Linear(self.feature_width, classes)
        return MlpHead(self.feature_width, self.head_width or self.dimensions.width, classes, self.head_activation)

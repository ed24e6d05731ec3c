"""The rows of scripts/bench_step.py: which model takes which step, what is measured of it, and the floors of the ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["step", "evaluate", "memory", "peak"]
UNITS: dict[Kind, str] = {"step": "img/s", "evaluate": "img/s", "memory": "MiB", "peak": "GFLOP/s"}
WARM_UP = 3


@dataclass(frozen=True)
class Shape:
    """A ViT by our size, timm's name of it, the side of a patch and of an image, and the images of a step."""

    size: str
    timm: str
    patch: int
    res: int
    batch: int


TI16 = Shape("tiny", "vit_tiny_patch16_224", 16, 224, 32)
D192 = Shape("tiny", "vit_tiny_patch16_224", 4, 32, 64)
S16 = Shape("small", "vit_small_patch16_224", 16, 224, 16)


@dataclass(frozen=True)
class Work:
    """One row. `ours` and `peer` are the precisions of the two arms; `batch` overrides the shape's."""

    name: str
    floor: float
    shape: Shape
    measures: Kind = "step"
    ours: str = "bf16"
    peer: str = "bf16"
    compiled: bool = False
    drop_path: float = 0.0
    recompute: str = "none"
    pool: Literal["cls", "gap"] = "cls"
    batch: int | None = None

    @property
    def images(self) -> int:
        """Count the images of a step."""
        return self.batch or self.shape.batch

    @property
    def unit(self) -> str:
        """Say what is counted."""
        return UNITS[self.measures]

    @property
    def needs_bf16(self) -> bool:
        """Tell whether an arm computes in bfloat16 whatever the machine is good at."""
        return any(precision.startswith("bf16") for precision in (self.ours, self.peer))


WORKS = (
    Work("ti16_bf16", 1.3, TI16),
    Work("ti16_default", 2.0, TI16, ours="auto", peer="fp32"),
    Work("ti16_float32", 1.05, TI16, ours="fp32", peer="fp32"),
    Work("d192_bf16", 1.4, D192),
    Work("ti16_compiled", 1.15, TI16, compiled=True),
    Work("d192_compiled", 1.15, D192, compiled=True),
    Work("peak_share", 0.6, TI16, "peak", ours="auto", peer="auto"),
    Work("evaluation_bf16", 1.5, TI16, "evaluate"),
    Work("droppath_s16", 1.5, S16, drop_path=0.4),
    Work("memory_ti16", 0.95, TI16, "memory", ours="auto", peer="fp32", batch=64),
    Work("memory_ti16_low", 1.2, TI16, "memory", ours="auto", peer="fp32", recompute="mlp", batch=64),
)
"""The rows that have floors."""
INFORM = (
    Work("ti16_stream", 0.0, TI16, ours="bf16_stream"),
    Work("d192_stream", 0.0, D192, ours="bf16_stream"),
    Work("evaluation_stream", 0.0, TI16, "evaluate", ours="bf16_stream"),
    Work("peak_stream", 0.0, TI16, "peak", ours="bf16_stream", peer="bf16"),
    Work("d192_float32", 0.0, D192, ours="fp32", peer="fp32"),
    Work("ti16_float32_gap", 0.0, TI16, ours="fp32", peer="fp32", pool="gap"),
    Work("droppath_s16_float32", 0.0, S16, ours="fp32", peer="fp32", drop_path=0.4),
    Work("evaluation_float32", 0.0, TI16, "evaluate", ours="fp32", peer="fp32"),
    Work("ti16_recompute_mlp", 0.0, TI16, ours="auto", peer="fp32", recompute="mlp", batch=64),
    Work("ti16_recompute_blocks", 0.0, TI16, ours="auto", peer="fp32", recompute="blocks", batch=64),
    Work("memory_ti16_blocks", 0.0, TI16, "memory", ours="auto", peer="fp32", recompute="blocks", batch=64),
)
"""Rows that only inform: of a residual stream in bfloat16, in float32, with a head that sees all tokens, so that the last
block leaves nothing out, and of the speed at which memory is spared."""


@dataclass(frozen=True)
class Extent:
    """How much is measured: rounds of two arms, timed steps of each, steps of the gate's loss curve."""

    rounds: int
    steps: int
    curve: int


FULL, QUICK = Extent(3, 12, 200), Extent(1, 4, 20)

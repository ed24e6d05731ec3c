"""What scripts/bench_gpu.py compares: models, batches, arms, and what the issue asks of each ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

CLASSES = 1000


class Arm(NamedTuple):
    """One way to train. `compile` is torch.compile's mode for timm ("" is none), and on or off for us."""

    is_ours: bool
    compile: str = ""
    graph: str = "off"


ARMS = {
    "ours": Arm(True, "default"),
    "ours_eager": Arm(True),
    "ours_graph": Arm(True, "default", "on"),
    "ours_eager_graph": Arm(True, "", "on"),
    "timm": Arm(False, "default"),
    "timm_eager": Arm(False),
    "timm_max": Arm(False, "max-autotune-no-cudagraphs"),
}
"""T0 of docs/speed/gpu.md is timm_eager, T1 timm, T2 timm_max (with a fused AdamW and fast norms), V0 ours_eager, V1 ours."""
USUAL = ("ours", "timm", "timm_eager", "ours_eager", "timm_max")


@dataclass(frozen=True)
class Work:
    """A model at a batch size, and the arms that train it. `name` is timm's; floors are ratios to timm, 0 for none."""

    name: str
    width: int
    depth: int
    heads: int
    patch: int
    res: int
    batch: int
    arms: tuple[str, ...] = USUAL
    drop_path: float = 0.0
    layer_scale: bool = False
    step_floor: float = 0.0
    loop_floor: float = 0.0
    eager_floor: float = 0.0
    precision: str = "bf16"

    @property
    def section(self) -> str:
        """Our section of the same model."""
        is_deit3 = "layer_scale: 1e-4, cls_position: false, " if self.layer_scale else ""
        return (
            f"{{name: vit, width: {self.width}, depth: {self.depth}, heads: {self.heads}, patch: {self.patch}, "
            f"res: {self.res}, gelu: exact, {is_deit3}drop_path: {self.drop_path}, drop_path_rule: constant}}"
        )

    @property
    def sizes(self) -> dict[str, int]:
        """timm's words for the same sizes."""
        return {
            "img_size": self.res,
            "patch_size": self.patch,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.heads,
        }

    @property
    def flops(self) -> float:
        """Count the operations of training on one image, 2 for a multiply-add: every product thrice, the first twice."""
        patches = (self.res // self.patch) ** 2
        tokens, d = patches + 1, self.width
        blocks = self.depth * (24 * tokens * d**2 + 4 * tokens**2 * d)
        return 3 * (blocks + 2 * d * CLASSES) + 2 * (2 * patches * 3 * self.patch**2 * d)


SMALL, TUNED = (
    ("ours", "timm", "timm_eager", "ours_eager"),
    ("ours", "ours_graph", "timm", "ours_eager_graph", "timm_eager"),
)
WORKS = {
    "b16": Work("vit_base_patch16_224", 768, 12, 12, 16, 224, 256, step_floor=1.03, loop_floor=1.05, eager_floor=1.2),
    "s16": Work("vit_small_patch16_224", 384, 12, 6, 16, 224, 256, step_floor=1.05, loop_floor=1.1, eager_floor=1.3),
    "l16": Work("vit_large_patch16_224", 1024, 24, 16, 16, 224, 256, step_floor=1.02, eager_floor=1.15, arms=SMALL),
    "b16_384": Work("vit_base_patch16_224", 768, 12, 12, 16, 384, 128, arms=SMALL),
    "deit3_l": Work("deit3_large_patch16_224", 1024, 24, 16, 16, 192, 256, SMALL, 0.45, True, loop_floor=1.4),
    "deit3_h": Work("deit3_huge_patch14_224", 1280, 32, 16, 14, 154, 128, SMALL, 0.6, True, loop_floor=1.7),
    "tune_s16": Work("vit_small_patch16_224", 384, 12, 6, 16, 224, 32, TUNED, loop_floor=1.3),
    "tune_ti16": Work("vit_tiny_patch16_224", 192, 12, 3, 16, 224, 32, TUNED, loop_floor=1.3),
}
TINY: dict[str, Any] = {"width": 32, "depth": 2, "heads": 2, "patch": 16, "res": 32, "batch": 8, "precision": "fp32"}
"""What a work shrinks to in a smoke run on a CPU."""


class Extent(NamedTuple):
    """How long an arm is timed: rounds, seconds of a window, steps before the first."""

    rounds: int
    seconds: float
    warm_up: int
    classes: int = CLASSES


FULL, SMOKE = Extent(2, 8.0, 20), Extent(1, 0.2, 4)

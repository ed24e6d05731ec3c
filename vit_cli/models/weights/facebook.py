"""facebookresearch's Vision Transformers: DeiT, DeiT III, DINO and DINOv2; DINOv3 has its own file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.deit import Deit
from vit_cli.models.positions import Stretch
from vit_cli.models.vit import Vit
from vit_cli.models.weights.convert import PATCHES, split
from vit_cli.models.weights.defaults import imagenet
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule
from vit_cli.models.weights.shapes import count, dimensions, side_of, take

MARKS = {"cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
FIRST_GAMMA = "blocks.0.ls1.gamma"
TIMM_ONLY = ("reg_token", "fc_norm.weight", "attn_pool.latent", "blocks.0.attn.q_norm.weight")
"""Names that only timm's ViT has of all that begin alike."""
PROJECTION = (
    "head.mlp.{i}.weight",
    "head.mlp.{i}.bias",
    "head.last_layer.weight",
    "head.last_layer.weight_g",
    "head.last_layer.weight_v",
)


def read_dimensions(tensors: Mapping[str, Tensor], heads: int | None = None) -> dict[str, Any]:
    """Tell the size and the patch of a network with these families' names, whichever its MLP is."""
    kernel = take(tensors, "patch_embed.proj.weight", 4)
    width, depth = kernel.shape[0], count(tensors, "blocks.{i}.norm1.weight")
    last = next((name for name in ("w3", "fc2") if f"blocks.0.mlp.{name}.weight" in tensors), None)
    if last is None:
        raise CheckpointError("the weights lack blocks.0.mlp.fc2.weight")
    hidden = take(tensors, f"blocks.0.mlp.{last}.weight", 2).shape[1]
    section = {"name": "vit", **dimensions(width, depth, hidden, heads), "patch": kernel.shape[2]}
    return section | ({"ffn": "swiglu"} if last == "w3" else {})


def has_gamma(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether branches have a LayerScale."""
    return FIRST_GAMMA in tensors or "blocks.0.gamma_1" in tensors


def block_rules() -> list[Rule]:
    """Pair the parts that all these families have."""
    return [
        rule("cls_token", "cls"),
        *layer("patch_embed.proj", "embedding.projection", PATCHES),
        *layer("blocks.{i}.norm1", "blocks.{i}.norm1"),
        *layer("blocks.{i}.attn.qkv", "blocks.{i}.attention.qkv"),
        *layer("blocks.{i}.attn.proj", "blocks.{i}.attention.out"),
        *layer("blocks.{i}.norm2", "blocks.{i}.norm2"),
        *layer("blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc1"),
        *layer("blocks.{i}.mlp.fc2", "blocks.{i}.mlp.fc2"),
        *layer("norm", "norm"),
        *layer("head", "head"),
    ]


class DeitNaming(Naming[Vit]):
    """DeiT, plain or distilled (a second token and a second head), and DeiT III (LayerScale, no class position)."""

    name = "deit"
    title = "facebookresearch's DeiT"
    kinds = (Vit, Deit)

    def recognises(self, foreign: Foreign) -> bool:
        names = foreign.tensors.keys()
        return (
            names >= MARKS | {"pos_embed", "head.weight"}
            and not names & {FIRST_GAMMA, *TIMM_ONLY}
            and not foreign.config
            and ("model" in foreign.wrapped or "blocks.0.gamma_1" in names)
        )

    def section(self, foreign: Foreign) -> dict[str, Any]:
        tensors = foreign.tensors
        section = read_dimensions(tensors)
        positions = take(tensors, "pos_embed", 3).shape[1]
        is_third = has_gamma(tensors)
        prefix = 0 if is_third else 1 + ("dist_token" in tensors)
        return section | {
            "name": "deit" if "dist_token" in tensors else "vit",
            "res": side_of(positions - prefix, "pos_embed") * section["patch"],
            "pool": "cls",
            "positions": "learned",
            "norm_eps": 1e-6,
            "gelu": "exact",
            **({"layer_scale": 1e-4, "cls_position": False, "drop_path_rule": "constant"} if is_third else {}),
        }

    def classes(self, foreign: Foreign) -> int:
        return foreign.tensors["head.weight"].shape[0] if "head.weight" in foreign.tensors else 0

    def rules(self, section: Vit) -> list[Rule]:
        prefix = (1 + isinstance(section, Deit)) if section.cls_position else 0
        return [
            *block_rules(),
            rule("dist_token", "dist"),
            *layer("head_dist", "head_dist"),
            rule("pos_embed", ["positions.prefix", "positions.table"], split(prefix))
            if prefix
            else rule("pos_embed", "positions.table"),
            rule("blocks.{i}.gamma_1", "blocks.{i}.scale1.gamma"),
            rule("blocks.{i}.gamma_2", "blocks.{i}.scale2.gamma"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        return imagenet(crop=1.0 if has_gamma(foreign.tensors) else 0.875)


class Dino(Naming[Vit]):
    """DINO's ViT, which has no classes; the head that its training projects with is left aside."""

    name = "dino"
    title = "facebookresearch's DINO"
    kinds = (Vit,)
    stretch = Stretch(offset=0.1)
    aside: ClassVar[Mapping[str, str]] = dict.fromkeys(PROJECTION, "the projection of DINO's training")

    def recognises(self, foreign: Foreign) -> bool:
        names = foreign.tensors.keys()
        return (
            names >= MARKS | {"pos_embed"}
            and not names & {"head.weight", "mask_token", "dist_token", FIRST_GAMMA, "blocks.0.gamma_1", *TIMM_ONLY}
            and not foreign.config
        )

    def section(self, foreign: Foreign) -> dict[str, Any]:
        section = read_dimensions(foreign.tensors)
        positions = take(foreign.tensors, "pos_embed", 3).shape[1]
        return section | {
            "res": side_of(positions - 1, "pos_embed") * section["patch"],
            "pool": "cls",
            "positions": "learned",
            "norm_eps": 1e-6,
            "gelu": "exact",
        }

    def classes(self, foreign: Foreign) -> int:  # noqa: ARG002
        return 0

    def rules(self, section: Vit) -> list[Rule]:  # noqa: ARG002
        return [
            *block_rules(),
            rule("pos_embed", ["positions.prefix", "positions.table"], split(1)),
            rule("register_tokens", "registers"),
            *layer("blocks.{i}.mlp.w12", "blocks.{i}.mlp.fc1"),
            *layer("blocks.{i}.mlp.w3", "blocks.{i}.mlp.fc2"),
            rule("blocks.{i}.ls1.gamma", "blocks.{i}.scale1.gamma"),
            rule("blocks.{i}.ls2.gamma", "blocks.{i}.scale2.gamma"),
        ]

    def preprocess(self, foreign: Foreign) -> dict[str, Any]:  # noqa: ARG002
        return imagenet()


class Dinov2(Dino):
    """DINOv2: LayerScale, patches of 14 pixels, a SwiGLU in the largest, registers in the later ones."""

    name = "dinov2"
    title = "facebookresearch's DINOv2"
    aside: ClassVar[Mapping[str, str]] = {**Dino.aside, "mask_token": "for the masked images of its training"}

    def recognises(self, foreign: Foreign) -> bool:
        names = foreign.tensors.keys()
        marks = MARKS | {"pos_embed", FIRST_GAMMA}
        return names >= marks and bool(names & {"mask_token", "register_tokens"}) and not foreign.config

    def section(self, foreign: Foreign) -> dict[str, Any]:
        registers = foreign.tensors.get("register_tokens")
        return (
            super().section(foreign)
            | {"layer_scale": 1e-5}
            | ({} if registers is None else {"registers": take(foreign.tensors, "register_tokens", 3).shape[1]})
        )

    def stretching(self, foreign: Foreign) -> Stretch:
        return Stretch(antialias=True) if "register_tokens" in foreign.tensors else self.stretch

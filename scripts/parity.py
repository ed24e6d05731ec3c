"""Compare our models with timm's, transformers' and torchvision's: the same weights, the same images, the largest difference.

    python scripts/parity.py                    small published sizes and small dimensions, about two minutes on two cores
    python scripts/parity.py --all              published sizes up to large, about 15 minutes and 8 GB
    python scripts/parity.py --only TNT --json

Each peer makes a network, writes its weights in the form that they are published in, and answers at the resolution of the
images, which it stretches its positions for by its own method. We read what it wrote as `vit import --match` does. Logits are
float32 on the CPU; their spread says what a difference is to be compared with.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from scipy.ndimage import zoom
from timm.models import deit, tnt, vision_transformer
from timm.models._hub import save_for_hf
from torch import Tensor, nn

from vit_cli.evaluate.open import open_weights
from vit_cli.models import Model
from vit_cli.recipe.plain import read_section

SEED = 0
Answer = Callable[[Tensor], Tensor]


class Peer(NamedTuple):
    """Where a peer wrote its weights, and what it answers to images of any size."""

    path: Path
    answer: Answer


class Difference(NamedTuple):
    """The largest difference of two logits, and how far the peer's own are spread (standard deviation)."""

    largest: float
    spread: float


@dataclass(frozen=True)
class Case:
    """A family at a size: how to make its peer in a folder, and the resolutions to compare at."""

    family: str
    size: str
    make: Callable[[Path], Peer]
    res: tuple[int, ...]
    is_large: bool = False


def stir(model: nn.Module) -> nn.Module:
    """Draw weights with which every part counts: nothing that starts at zero or one may hide."""
    for name, parameter in model.named_parameters():
        is_scale = parameter.ndim == 1 and not name.endswith("bias")
        if is_scale:
            nn.init.normal_(parameter, 1.0, 0.2)
        elif parameter.ndim < 4:
            is_kernel = parameter.ndim == 2
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5 if is_kernel else 0.2)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.2)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return model.eval()


@torch.inference_mode()
def answer_by(make: Callable[[int], nn.Module], native: nn.Module, side: int, images: Tensor) -> Tensor:
    """Answer with the network itself, or with one made for other images."""
    model = native if images.shape[-1] == side else make(images.shape[-1]).eval()
    return model.to(images.dtype)(images)


def timm_peer(
    folder: Path, name: str, res: int, loader: Any = vision_transformer.checkpoint_filter_fn, **args: Any
) -> Peer:
    """Write a folder as timm does."""
    args = {"num_classes": 11} | args
    native = stir(timm.create_model(name, img_size=res, **args))
    save_for_hf(native, str(folder), model_args={"img_size": res, **args}, safe_serialization=True)

    def stretched(side: int) -> nn.Module:
        model = timm.create_model(name, img_size=side, **args)
        model.load_state_dict(loader(dict(native.state_dict()), model))
        return model

    return Peer(folder, partial(answer_by, stretched, native, res))


def bare_timm_peer(
    folder: Path, *args: Any, write: Callable[[Mapping[str, Tensor], Path], Path], **settings: Any
) -> Peer:
    """Give a network of timm whose weights are published in a file of another form."""
    inner = folder / "timm"
    peer = timm_peer(inner, *args, **settings)
    return Peer(write(load_file(inner / "model.safetensors"), folder), peer.answer)


def stretched_by(
    resize: Callable[[Tensor, int], Tensor],
) -> Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]:
    """Give a loader that stretches the positions as a family's own code does: `resize` takes (1, d, rows, columns)."""

    def load(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        table, side = tensors["pos_embed"], model.patch_embed.grid_size[0]
        rows = math.isqrt(table.shape[1])  # one or two tokens before the patches change nothing about it
        prefix, grid = table[:, : -(rows**2)], table[:, -(rows**2) :].unflatten(1, (rows, rows)).permute(0, 3, 1, 2)
        moved = resize(grid, side).permute(0, 2, 3, 1).flatten(1, 2)
        return {**tensors, "pos_embed": torch.cat([prefix, moved], dim=1)}

    return load


def as_vit_jax(grid: Tensor, side: int) -> Tensor:
    """vit_jax (checkpoint.py): scipy's zoom, of the first order."""
    factor = side / grid.shape[-1]
    return torch.from_numpy(zoom(grid.numpy(), (1, 1, factor, factor), order=1))


def as_deit(grid: Tensor, side: int) -> Tensor:
    """facebookresearch's DeiT (main.py): torch's bicubic."""
    return F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)


def as_dino(grid: Tensor, side: int) -> Tensor:
    """facebookresearch's DINO (vision_transformer.py): bicubic by a factor that is 0.1 patches too large."""
    factor = (side + 0.1) / grid.shape[-1]
    return F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")


def write_plain(tensors: Mapping[str, Tensor], folder: Path) -> Path:
    """Write a bare file in timm's names."""
    save_file(dict(tensors), folder / "bare.safetensors")
    return folder / "bare.safetensors"


def write_facebook(tensors: Mapping[str, Tensor], folder: Path) -> Path:
    """Write a checkpoint as facebookresearch's DeiT does; DeiT III has gammas by other names."""
    gammas = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): t for name, t in tensors.items()}
    torch.save({"model": gammas}, folder / "deit.pth")
    return folder / "deit.pth"


def write_dino(tensors: Mapping[str, Tensor], folder: Path) -> Path:
    """Write a checkpoint as facebookresearch's DINO and DINOv2 do."""
    names = {"reg_token": "register_tokens"}
    renamed = {names.get(name, name): tensor for name, tensor in tensors.items()}
    if "register_tokens" in renamed or "blocks.0.ls1.gamma" in renamed:
        renamed["mask_token"] = torch.zeros(1, renamed["cls_token"].shape[2])
    if "register_tokens" in renamed:  # timm adds the class token's position to it
        renamed["pos_embed"] = torch.cat([torch.zeros_like(renamed["cls_token"]), renamed["pos_embed"]], dim=1)
    torch.save(renamed, folder / "dino.pth")
    return folder / "dino.pth"


def write_npz(tensors: Mapping[str, Tensor], folder: Path, heads: int) -> Path:
    """Write an npz as vit_jax does (FACTS 7.2, the other way round)."""
    arrays: dict[str, Tensor] = {
        "cls": tensors["cls_token"],
        "embedding/kernel": tensors["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": tensors["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": tensors["pos_embed"],
        "Transformer/encoder_norm/scale": tensors["norm.weight"],
        "Transformer/encoder_norm/bias": tensors["norm.bias"],
        "head/kernel": tensors["head.weight"].T,
        "head/bias": tensors["head.bias"],
    }
    for i in range(sum(name.endswith("norm1.weight") for name in tensors)):
        theirs, ours = f"Transformer/encoderblock_{i}/", f"blocks.{i}."
        attention = theirs + "MultiHeadDotProductAttention_1/"
        width = tensors[ours + "norm1.weight"].numel()
        for part, w, b in zip(
            ("query", "key", "value"),
            tensors[ours + "attn.qkv.weight"].chunk(3),
            tensors[ours + "attn.qkv.bias"].chunk(3),
            strict=True,
        ):
            arrays[f"{attention}{part}/kernel"] = w.T.reshape(width, heads, -1)
            arrays[f"{attention}{part}/bias"] = b.reshape(heads, -1)
        arrays[attention + "out/kernel"] = tensors[ours + "attn.proj.weight"].T.reshape(heads, -1, width)
        arrays[attention + "out/bias"] = tensors[ours + "attn.proj.bias"]
        for norm, name in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            arrays[f"{theirs}{norm}/scale"] = tensors[f"{ours}{name}.weight"]
            arrays[f"{theirs}{norm}/bias"] = tensors[f"{ours}{name}.bias"]
        for dense, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            arrays[f"{theirs}MlpBlock_3/{dense}/kernel"] = tensors[f"{ours}mlp.{name}.weight"].T
            arrays[f"{theirs}MlpBlock_3/{dense}/bias"] = tensors[f"{ours}mlp.{name}.bias"]
    made: dict[str, Any] = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in arrays.items()}
    np.savez(folder / "vit.npz", **made)
    return folder / "vit.npz"


def hf_peer(folder: Path, kind: str, res: int, head: str = "ForImageClassification", **settings: Any) -> Peer:
    """Write a folder as transformers does."""
    config = getattr(transformers, f"{kind}Config")(image_size=res, num_labels=11, **settings)
    model = stir(getattr(transformers, kind + head)(config))
    model.save_pretrained(folder)
    by_itself = {} if kind.startswith("Dinov2") else {"interpolate_pos_encoding": True}

    @torch.inference_mode()
    def answer(images: Tensor) -> Tensor:
        return model.to(images.dtype)(images, **(by_itself if images.shape[-1] != res else {})).logits

    return Peer(folder, answer)


def dinov3_peer(folder: Path, res: int, **settings: Any) -> Peer:
    """Write a folder of DINOv3, which answers with its class token."""
    model = stir(transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(image_size=res, **settings)))
    model.save_pretrained(folder)

    @torch.inference_mode()
    def answer(images: Tensor) -> Tensor:
        return model.to(images.dtype)(images).pooler_output

    return Peer(folder, answer)


def torchvision_peer(folder: Path, name: str, res: int | None = None, **settings: Any) -> Peer:
    """Write a file of torchvision's."""
    make = getattr(torchvision.models, name)
    sized = {} if res is None else {"image_size": res}
    native = stir(make(num_classes=11, **sized, **settings))
    path = folder / f"{name}.pth"
    torch.save(native.state_dict(), path)

    def stretched(side: int) -> nn.Module:
        if res is None:
            return native
        model = make(num_classes=11, image_size=side, **settings)
        patch = model.patch_size
        state = torchvision.models.vision_transformer.interpolate_embeddings(side, patch, native.state_dict())
        model.load_state_dict(state)
        return model

    return Peer(path, partial(answer_by, stretched, native, res or 0))


SMALL: dict[str, Any] = {"embed_dim": 128, "depth": 3, "num_heads": 2, "patch_size": 8}
HF_SMALL: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8}
HF_MLP: dict[str, Any] = HF_SMALL | {"intermediate_size": 256}
REGISTERED: dict[str, Any] = {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5}
BEFORE: dict[str, Any] = {"global_pool": "avg", "fc_norm": False}
TNT_SMALL: dict[str, Any] = {
    "loader": tnt.checkpoint_filter_fn,
    "embed_dim": 128,
    "inner_dim": 16,
    "depth": 3,
    "num_heads_outer": 2,
}
GATED: dict[str, Any] = {"use_gated_mlp": True, "hidden_act": "silu"}
DEIT = partial(deit.checkpoint_filter_fn, adapt_layer_scale=True)


def timm_case(
    family: str, size: str, name: str, res: tuple[int, ...] = (64, 96), large: bool = False, **args: Any
) -> Case:
    """A case of timm's own form."""
    return Case(family, size, partial(timm_peer, name=name, res=res[0], **args), res, large)


def other_case(family: str, size: str, name: str, write: Any, res: tuple[int, ...] = (64, 96), **args: Any) -> Case:
    """A case of another form that timm reads too."""
    return Case(family, size, partial(bare_timm_peer, name=name, res=res[0], write=write, **args), res)


def hf_case(
    family: str, size: str, kind: str, res: tuple[int, ...] = (64, 96), large: bool = False, **settings: Any
) -> Case:
    """A case of transformers."""
    return Case(family, size, partial(hf_peer, kind=kind, res=res[0], **settings), res, large)


JAX, META, OFFSET = map(stretched_by, (as_vit_jax, as_deit, as_dino))


def list_small() -> list[Case]:
    """List a case for every kind of network and every form, in small dimensions."""
    b, d2 = "vit_base_patch16_224", "vit_giant_patch14_dinov2"
    dino = {"init_values": 1e-5, "num_classes": 0}
    return [
        timm_case("timm ViT", "class token", b, **SMALL),
        timm_case("timm ViT", "average, norm after", b, global_pool="avg", **SMALL),
        timm_case("timm ViT", "average, norm before, no class token", b, class_token=False, **SMALL | BEFORE),
        timm_case("timm ViT", "MAP", b, global_pool="map", class_token=False, **SMALL),
        timm_case("timm ViT", "registers, no class position, LayerScale, QK-norm", b, qk_norm=True, **SMALL | REGISTERED),
        timm_case("timm ViT", "registers with positions", b, reg_tokens=4, **SMALL),
        timm_case("timm ViT", "SwiGLU", d2, mlp_ratio=4.0, **SMALL),
        timm_case("timm ViT", "GELU of tanh, no biases of q, k, v", b, act_layer="gelu_tanh", qkv_bias=False, **SMALL),
        other_case("timm ViT", "a file without config", b, write_plain, **SMALL),
        timm_case("timm DeiT", "distilled", "deit_base_distilled_patch16_224", loader=DEIT, **SMALL),
        timm_case("timm DeiT III", "LayerScale", "deit3_base_patch16_224", loader=DEIT, **SMALL),
        timm_case("timm TNT", "published form", "tnt_s_patch16_224", **TNT_SMALL),
        timm_case("timm TNT", "legacy form", "tnt_s_legacy_patch16_224", **TNT_SMALL),
        timm_case("timm hybrid", "R+, stem only", "vit_tiny_r_s16_p8_224", embed_dim=128, depth=2, num_heads=2),
        timm_case("timm hybrid", "R26, stride 32", "vit_small_r26_s32_224", (224, 288), embed_dim=128, depth=2, num_heads=2),
        timm_case("timm hybrid", "R50, stride 16", "vit_base_r50_s16_224", (224, 288), embed_dim=128, depth=2, num_heads=2),
        hf_case("Hugging Face ViT", "tanh, no biases of q, k, v", "ViT", hidden_act="gelu_new", qkv_bias=False, **HF_MLP),
        hf_case("Hugging Face ViT", "exact GELU", "ViT", **HF_MLP),
        hf_case("Hugging Face DeiT", "without distillation's head", "DeiT", **HF_MLP),
        hf_case("Hugging Face DeiT", "distilled", "DeiT", head="ForImageClassificationWithTeacher", **HF_MLP),
        hf_case("Hugging Face DINOv2", "MLP", "Dinov2", mlp_ratio=2, **HF_SMALL),
        hf_case("Hugging Face DINOv2", "SwiGLU", "Dinov2", mlp_ratio=4, use_swiglu_ffn=True, **HF_SMALL),
        hf_case("Hugging Face DINOv2", "registers", "Dinov2WithRegisters", mlp_ratio=2, **HF_SMALL),
        Case("Hugging Face DINOv3", "MLP, registers", partial(dinov3_peer, res=64, num_register_tokens=4, **HF_MLP), (64, 96)),
        Case("Hugging Face DINOv3", "SwiGLU", partial(dinov3_peer, res=64, **HF_MLP | GATED), (64, 96)),
        other_case("Google ViT (npz)", "vit_jax", b, partial(write_npz, heads=2), loader=JAX, act_layer="gelu_tanh", **SMALL),
        other_case("facebookresearch DeiT", "plain", b, write_facebook, loader=META, **SMALL),
        other_case("facebookresearch DeiT", "distilled", "deit_base_distilled_patch16_224", write_facebook, loader=META, **SMALL),
        other_case("facebookresearch DeiT III", "LayerScale", "deit3_base_patch16_224", write_facebook, loader=META, **SMALL),
        other_case("facebookresearch DINO", "no head", b, write_dino, loader=OFFSET, **SMALL | {"num_classes": 0}),
        other_case("facebookresearch DINOv2", "no head", b, write_dino, loader=OFFSET, **SMALL | dino),
        other_case("facebookresearch DINOv2", "registers", b, write_dino, **SMALL | REGISTERED | dino),
        Case("torchvision ViT", "B/32", partial(torchvision_peer, name="vit_b_32", res=64), (64, 96)),
        Case("torchvision ResNet", "18", partial(torchvision_peer, name="resnet18"), (64, 96)),
        Case("torchvision ConvNeXt", "tiny", partial(torchvision_peer, name="convnext_tiny"), (64, 96)),
    ]  # fmt: skip


def list_published() -> list[Case]:
    """List the published sizes at their own resolution and a finer one."""
    res = (224, 288)
    thousand: dict[str, Any] = {"num_classes": 1000}
    tnts = ("tnt_s_patch16_224", "tnt_b_patch16_224", "tnt_s_legacy_patch16_224")
    names = [
        ("tiny", 16),
        ("small", 16),
        ("small", 32),
        ("base", 8),
        ("base", 16),
        ("base", 32),
        ("large", 16),
        ("large", 32),
    ]
    hybrids = ("vit_tiny_r_s16_p8_224", "vit_small_r26_s32_224", "vit_base_r50_s16_224", "vit_large_r50_s32_224")
    cases = [timm_case("timm ViT", f"{s}/{p}", f"vit_{s}_patch{p}_224", res, s != "tiny", **thousand) for s, p in names]
    cases += [
        timm_case(
            "timm DeiT", f"{s} distilled", f"deit_{s}_distilled_patch16_224", res, s != "tiny", loader=DEIT, **thousand
        )
        for s in ("tiny", "small", "base")
    ]
    cases += [
        timm_case("timm DeiT III", f"{s}/16", f"deit3_{s}_patch16_224", res, True, loader=DEIT, **thousand)
        for s in ("small", "medium", "base", "large")
    ]
    cases += [
        timm_case("timm TNT", name, name, res, name != tnts[0], loader=tnt.checkpoint_filter_fn, **thousand)
        for name in tnts
    ]
    cases += [timm_case("timm hybrid", name, name, (224, 320), "tiny" not in name, **thousand) for name in hybrids]
    hf_base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    cases += [
        hf_case("Hugging Face ViT", "base/16", "ViT", res, True, **hf_base, intermediate_size=3072),
        hf_case("Hugging Face DINOv2", "base/14", "Dinov2", (224, 280), True, **hf_base, patch_size=14),
        hf_case(
            "Hugging Face DINOv2",
            "base/14, registers",
            "Dinov2WithRegisters",
            (224, 280),
            True,
            **hf_base,
            patch_size=14,
        ),
        Case("torchvision ViT", "B/16", partial(torchvision_peer, name="vit_b_16", res=224), res, True),
        Case("torchvision ViT", "L/16", partial(torchvision_peer, name="vit_l_16", res=224), res, True),
        Case("torchvision ResNet", "50", partial(torchvision_peer, name="resnet50"), res, True),
    ]
    return cases


@torch.inference_mode()
def compare(case: Case, folder: Path, dtype: torch.dtype = torch.float32) -> dict[int, Difference]:
    """Give the differences of a case at each of its resolutions, worked out in `dtype`."""
    torch.manual_seed(SEED)
    peer = case.make(folder)
    found = {}
    for side in case.res:
        changes = [f"model.res={side}"] if side != case.res[0] or case.family.endswith(("ResNet", "ConvNeXt")) else []
        saved = open_weights(peer.path, changes=changes, own_stretch=True)
        ours = read_section(Model, saved.about["model"]).build(len(saved.class_names))
        ours.load_state_dict(saved.weights)
        images = torch.randn(2, 3, side, side, dtype=dtype)
        theirs = peer.answer(images)
        mine = ours.eval().to(dtype)(images)
        found[side] = Difference((mine - theirs).abs().max().item(), theirs.std().item())
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also the published sizes from small to large")
    parser.add_argument("--only", default="", help="families whose name holds this text")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    cases = [c for c in list_small() + list_published() if chosen.only.lower() in c.family.lower()]
    largest = 0.0
    if not chosen.json:
        print("| family | size | native | stretched | spread of logits |\n|---|---|---|---|---|", flush=True)
    for case in cases:
        if case.is_large and not chosen.all:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = compare(case, Path(folder))
        row = {"family": case.family, "size": case.size, "differences": {k: v._asdict() for k, v in found.items()}}
        if chosen.json:
            print(json.dumps(row), flush=True)
            continue
        largest = max(largest, *(difference.largest for difference in found.values()))
        spread = min(difference.spread for difference in found.values())
        cells = [f"{side}: {found[side].largest:.1e}" for side in case.res] + ["-"] * (2 - len(case.res))
        print(f"| {case.family} | {case.size} | {cells[0]} | {cells[1]} | {spread:.2g} |", flush=True)
    if not chosen.json:
        print(f"\nthe largest difference is {largest:.1e}")


if __name__ == "__main__":
    main()

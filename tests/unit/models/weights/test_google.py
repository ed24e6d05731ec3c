"""Google's npz files against timm's own loader of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer, _load_weights
from torch import Tensor

from tests.unit.models.weights.built import build
from vit_cli.checkpoint.model import Saved
from vit_cli.evaluate.open import open_weights
from vit_cli.models.sizes import SIZES, SizeName

pytestmark = pytest.mark.slow

WIDTH, DEPTH, MLP, HEADS, PATCH, SIDE, CLASSES, SCALE = 48, 2, 80, 3, 8, 4, 5, 0.2
Arrays = dict[str, NDArray[np.float32]]


def draw(*shape: int) -> NDArray[np.float32]:
    return (torch.randn(shape) * SCALE).numpy()


def attention(name: str) -> Arrays:
    heads = (HEADS, WIDTH // HEADS)
    parts = {f"{name}/{part}/kernel": draw(WIDTH, *heads) for part in ("query", "key", "value")}
    biases = {f"{name}/{part}/bias": draw(*heads) for part in ("query", "key", "value")}
    return parts | biases | {f"{name}/out/kernel": draw(*heads, WIDTH), f"{name}/out/bias": draw(WIDTH)}


def norm(name: str, width: int | None = None) -> Arrays:
    width = width or WIDTH
    return {f"{name}/scale": 1 + draw(width), f"{name}/bias": draw(width)}


def dense(name: str, inputs: int, outputs: int) -> Arrays:
    return {f"{name}/kernel": draw(inputs, outputs), f"{name}/bias": draw(outputs)}


def block(names: tuple[str, str, str]) -> Arrays:
    first, second, mlp = names
    return (
        norm("LayerNorm_0")
        | attention(first)
        | norm(second)
        | dense(f"{mlp}/Dense_0", WIDTH, MLP)
        | dense(f"{mlp}/Dense_1", MLP, WIDTH)
    )


FIRST = ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
LATER = ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")


def blocks(names: tuple[str, str, str]) -> Arrays:
    return {f"Transformer/encoderblock_{i}/{key}": value for i in range(DEPTH) for key, value in block(names).items()}


def ends() -> Arrays:
    stem = {"embedding/kernel": draw(PATCH, PATCH, 3, WIDTH), "embedding/bias": draw(WIDTH)}
    return stem | norm("Transformer/encoder_norm") | dense("head", WIDTH, CLASSES)


def generation_a(**more: NDArray[np.float32]) -> Arrays:
    """vit_jax's names: FACTS 7.1 has the full list."""
    table = {"Transformer/posembed_input/pos_embedding": draw(1, 1 + SIDE * SIDE, WIDTH), "cls": draw(1, 1, WIDTH)}
    return ends() | blocks(FIRST) | table | more


def generation_b(pool: str) -> Arrays:
    """big_vision's names."""
    arrays = ends() | blocks(LATER) | {"pos_embedding": draw(1, SIDE * SIDE, WIDTH)}
    if pool == "map":
        arrays |= {f"MAPHead_0/{name}": value for name, value in attention("MultiHeadDotProductAttention_0").items()}
        arrays |= norm("MAPHead_0/LayerNorm_0") | {"MAPHead_0/probe": draw(1, 1, WIDTH)}
        arrays |= dense("MAPHead_0/MlpBlock_0/Dense_0", WIDTH, MLP)
        arrays |= dense("MAPHead_0/MlpBlock_0/Dense_1", MLP, WIDTH)
    return arrays | ({"cls": draw(1, 1, WIDTH)} if pool == "cls" else {})


def stack(arrays: Arrays) -> Arrays:
    """The same with the blocks in one array for each part, as big_vision scans over them."""
    parts = {name.split("/", 2)[2] for name in arrays if name.startswith("Transformer/encoderblock_")}
    stacked = {
        f"Transformer/encoderblock/{part}": np.stack(
            [arrays[f"Transformer/encoderblock_{i}/{part}"] for i in range(DEPTH)]
        )
        for part in parts
    }
    return {name: value for name, value in arrays.items() if "encoderblock_" not in name} | stacked


def under(prefix: str, arrays: Arrays) -> Arrays:
    return {prefix + name: value for name, value in arrays.items()}


def write(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def timms(**settings: Any) -> VisionTransformer:
    return VisionTransformer(
        img_size=SIDE * PATCH,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=MLP / WIDTH,
        num_classes=CLASSES,
        act_layer="gelu_tanh",
        **settings,
    ).eval()


@torch.no_grad()
def agree(path: Path, reader: VisionTransformer, prefix: str = "") -> Saved:
    """timm's own loader reads the file into its own model, and the logits are ours."""
    _load_weights(reader, str(path), prefix)
    saved = open_weights(path)
    images = torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH)
    theirs: Tensor = reader(images)
    assert theirs.std() > 0.1
    torch.testing.assert_close(build(saved)(images), theirs, atol=1e-5, rtol=0)
    return saved


def test_timm_reads_the_same_from_vit_jax(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = agree(write(tmp_path / "a.npz", generation_a()), timms())
    assert saved.about["model"]["gelu"] == "tanh"
    assert saved.about["preprocess"]["resize"] == "squash"
    assert saved.class_names == ("0", "1", "2", "3", "4")


def test_timm_reads_the_same_from_the_state_of_an_optimiser(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arrays = under("opt/target/", generation_a()) | {"opt/state/step": np.array(7), "extra/x": draw(3)}
    saved = agree(write(tmp_path / "a.npz", arrays), timms())
    assert "dropped  opt, extra (beside the model)" in saved.about["imported"]["changes"]


@pytest.mark.parametrize("prefix", ["params/", "params/img/"])
@pytest.mark.parametrize("is_stacked", [False, True], ids=["blocks", "stacked"])
def test_timm_reads_the_same_from_big_vision_with_map(tmp_path: Path, prefix: str, is_stacked: bool) -> None:
    torch.manual_seed(0)
    arrays = generation_b("map")
    path = write(tmp_path / "b.npz", under(prefix, stack(arrays) if is_stacked else arrays))
    saved = agree(path, timms(global_pool="map", class_token=False), prefix)
    assert saved.about["model"]["pool"] == "map"


def test_timm_reads_the_same_from_big_vision_with_a_class_token_without_position(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write(tmp_path / "b.npz", under("params/", generation_b("cls")))
    saved = agree(path, timms(no_embed_class=True), "params/")
    assert saved.about["model"]["cls_position"] is False


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_timm_reads_the_same_from_published_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: SizeName
) -> None:
    torch.manual_seed(0)
    values = (*SIZES[size], 16, 14, 1000, 0.02)
    names = ("WIDTH", "DEPTH", "MLP", "HEADS", "PATCH", "SIDE", "CLASSES", "SCALE")
    for name, value in zip(names, values, strict=True):
        monkeypatch.setitem(globals(), name, value)
    saved = agree(write(tmp_path / "a.npz", generation_a()), timms())
    assert (saved.about["model"]["size"], saved.about["res"]) == (size, [224, 224])
    assert saved.class_names[0] == "tench"


class MeanOfNorm(VisionTransformer):  # type: ignore[misc]
    """Google's average pooling: the mean of what the last LayerNorm gives."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        logits: Tensor = self.head(x.mean(dim=1))
        return logits


def test_average_pooling_comes_after_the_last_layer_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write(tmp_path / "b.npz", under("params/", generation_b("gap")))
    reader = timms(class_token=False, global_pool="avg", fc_norm=False)
    reader.__class__ = MeanOfNorm
    saved = agree(path, reader, "params/")
    assert saved.about["model"]["pool"] == "gap"


def test_a_fixed_table_is_not_in_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arrays = {name: value for name, value in generation_b("gap").items() if name != "pos_embedding"}
    saved = open_weights(write(tmp_path / "b.npz", arrays), changes=["model.res=32"])
    assert saved.about["model"]["positions"] == "sincos2d"
    assert build(saved)(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)


def test_the_hidden_layer_of_pre_training_is_kept_with_its_tanh(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hidden = dense("pre_logits", WIDTH, 24)
    path = write(tmp_path / "a.npz", generation_a(**hidden) | dense("head", 24, CLASSES))
    reader = timms()
    reader.head = torch.nn.Linear(WIDTH, CLASSES)
    saved = open_weights(path)
    images = torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH)
    model = build(saved)
    with np.load(path) as file:
        kernel, bias = (torch.from_numpy(file[f"pre_logits/{part}"]) for part in ("kernel", "bias"))
        head, own = (torch.from_numpy(file[f"head/{part}"]) for part in ("kernel", "bias"))
    pooled = model.features(images)
    torch.testing.assert_close(model(images), torch.tanh(pooled @ kernel + bias) @ head + own, atol=1e-5, rtol=0)


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arrays = generation_a()
    raw = {name: torch.from_numpy(a).bfloat16().view(torch.int16).numpy().view("V2") for name, a in arrays.items()}
    rounded = {name: torch.from_numpy(a).bfloat16().float().numpy() for name, a in arrays.items()}
    ours = open_weights(write(tmp_path / "raw.npz", raw))
    same = open_weights(write(tmp_path / "rounded.npz", rounded))
    assert {tensor.dtype for tensor in ours.weights.values()} == {torch.float32}
    for name, tensor in same.weights.items():
        torch.testing.assert_close(ours.weights[name], tensor, atol=0, rtol=0)


def test_positions_stretch_as_scipy_zooms(tmp_path: Path) -> None:
    """vit_jax and big_vision call `scipy.ndimage.zoom(grid, order=1)`."""
    from scipy.ndimage import zoom

    torch.manual_seed(0)
    arrays = generation_a()
    path = write(tmp_path / "a.npz", arrays)
    stretched = open_weights(path, changes=["model.res=48"], own_stretch=True).weights["positions.table"]
    grid = arrays["Transformer/posembed_input/pos_embedding"][0, 1:].reshape(SIDE, SIDE, WIDTH)
    expected = zoom(grid, (6 / SIDE, 6 / SIDE, 1), order=1).reshape(1, 36, WIDTH)
    torch.testing.assert_close(stretched, torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_another_resolution_is_bicubic_unless_asked_otherwise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write(tmp_path / "a.npz", generation_a())
    saved = open_weights(path, changes=["model.res=48"])
    assert "positions  4x4 -> 6x6 (bicubic)" in saved.about["imported"]["changes"]
    assert saved.about["imported"]["stretch"]["align_corners"] is True


def convolution(name: str, kernel: int, inputs: int, outputs: int) -> Arrays:
    return {f"{name}/kernel": draw(kernel, kernel, inputs, outputs)}


def hybrid(units: tuple[int, ...], patch: int, is_old: bool = False) -> Arrays:
    """vit_jax's models_resnet.py; old files have normalisations of (1, 1, 1, channels)."""
    arrays, channels = convolution("conv_root", 7, 3, 64) | norm("gn_root", 64), 64
    for b, count in enumerate(units):
        inner = 64 * 2**b
        for u in range(count):
            name = f"block{b + 1}/unit{u + 1}/"
            arrays |= convolution(name + "conv1", 1, channels, inner) | convolution(name + "conv2", 3, inner, inner)
            arrays |= convolution(name + "conv3", 1, inner, 4 * inner)
            arrays |= norm(name + "gn1", inner) | norm(name + "gn2", inner) | norm(name + "gn3", 4 * inner)
            if u == 0:
                arrays |= convolution(name + "conv_proj", 1, channels, 4 * inner) | norm(name + "gn_proj", 4 * inner)
            channels = 4 * inner
    if is_old:
        arrays = {key: a.reshape(1, 1, 1, -1) if "gn" in key else a for key, a in arrays.items()}
    return generation_a() | arrays | {"embedding/kernel": draw(patch, patch, channels, WIDTH)}


def timms_hybrid(units: tuple[int, ...], pixels: int, patch: int) -> VisionTransformer:
    from functools import partial

    from timm.layers import StdConv2dSame
    from timm.models.resnetv2 import ResNetV2
    from timm.models.vision_transformer_hybrid import HybridEmbed

    backbone = ResNetV2(
        layers=units,
        channels=tuple(256 * 2**i for i in range(len(units))),
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    return VisionTransformer(
        img_size=SIDE * pixels,
        patch_size=patch,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=MLP / WIDTH,
        num_classes=CLASSES,
        act_layer="gelu_tanh",
        embed_layer=partial(HybridEmbed, backbone=backbone),
    ).eval()


@pytest.mark.parametrize("is_old", [False, True], ids=["flat", "old"])
@torch.no_grad()
def test_timm_reads_the_same_from_a_hybrid(tmp_path: Path, is_old: bool) -> None:
    """With timm's small constants; Google's own are told in the section."""
    torch.manual_seed(0)
    units, pixels = (2, 1), 8
    path = write(tmp_path / "hybrid.npz", hybrid(units, patch=1, is_old=is_old))
    reader = timms_hybrid(units, pixels, patch=1)
    _load_weights(reader, str(path), "")
    saved = open_weights(path, changes=["model.convention=timm"])
    images = torch.randn(2, 3, SIDE * pixels, SIDE * pixels)
    torch.testing.assert_close(build(saved)(images), reader(images), atol=1e-5, rtol=0)
    told = open_weights(path).about["model"]
    assert (told["convention"], told["backbone"]["blocks"], told["res"]) == ("flax", [2, 1], SIDE * pixels)


def test_a_hybrid_of_the_stem_alone_is_recognised(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = open_weights(write(tmp_path / "hybrid.npz", hybrid((), patch=8)))
    assert saved.about["model"]["backbone"] == "stem"
    assert saved.about["res"] == [SIDE * 32, SIDE * 32]
    assert build(saved)(torch.zeros(1, 3, SIDE * 32, SIDE * 32)).shape == (1, CLASSES)

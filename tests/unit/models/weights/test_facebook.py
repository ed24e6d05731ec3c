"""facebookresearch's files against timm, which has its own readers of their names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from timm.layers import SwiGLUPacked
from timm.models import deit as timm_deit
from timm.models import eva as timm_eva
from timm.models import vision_transformer as timm_vit
from torch import Tensor, nn

from tests.unit.models.weights.built import build
from vit_cli.checkpoint.model import Saved
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.open import open_weights

pytestmark = pytest.mark.slow

WIDTH, HEADS, MLP, DEPTH, PATCH, SIDE, CLASSES = 128, 2, 160, 2, 8, 4, 5
Weights = dict[str, Tensor]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape) * 0.1


def layer(name: str, inputs: int, outputs: int, bias: bool = True) -> Weights:
    return {f"{name}.weight": draw(outputs, inputs)} | ({f"{name}.bias": draw(outputs)} if bias else {})


def norm(name: str) -> Weights:
    return {f"{name}.weight": 1 + draw(WIDTH), f"{name}.bias": draw(WIDTH)}


def mlp(kind: str, name: str) -> Weights:
    if kind == "mlp":
        return layer(f"{name}.fc1", WIDTH, MLP) | layer(f"{name}.fc2", MLP, WIDTH)
    if kind == "w12":
        return layer(f"{name}.w12", WIDTH, 2 * MLP) | layer(f"{name}.w3", MLP, WIDTH)
    return layer(f"{name}.w1", WIDTH, MLP) | layer(f"{name}.w2", WIDTH, MLP) | layer(f"{name}.w3", MLP, WIDTH)


def network(kind: str = "mlp", gammas: tuple[str, ...] = (), prefix: int | None = 1) -> Weights:
    """The names that DeiT, DINO, DINOv2 and DINOv3 share (their vision transformers' state dicts)."""
    weights = {"cls_token": draw(1, 1, WIDTH), "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH)}
    weights |= {"patch_embed.proj.bias": draw(WIDTH)} | norm("norm")
    if prefix is not None:
        weights["pos_embed"] = draw(1, prefix + SIDE * SIDE, WIDTH)
    for i in range(DEPTH):
        name = f"blocks.{i}"
        weights |= norm(f"{name}.norm1") | norm(f"{name}.norm2") | mlp(kind, f"{name}.mlp")
        weights |= layer(f"{name}.attn.qkv", WIDTH, 3 * WIDTH) | layer(f"{name}.attn.proj", WIDTH, WIDTH)
        weights |= {f"{name}.{gamma}": draw(WIDTH) for gamma in gammas}
    return weights


def timms(cls: type[nn.Module] = timm_vit.VisionTransformer, **settings: object) -> nn.Module:
    common = {"img_size": SIDE * PATCH, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    return cls(**(common | {"mlp_ratio": MLP / WIDTH, "num_classes": 0} | settings)).eval()


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
def agree(saved: Saved, reader: nn.Module) -> None:
    images = torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH)
    theirs = reader(images)
    assert theirs.std() > 0.1
    torch.testing.assert_close(build(saved)(images), theirs, atol=1e-5, rtol=0)


def test_deit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = network() | layer("head", WIDTH, CLASSES)
    saved = open_weights(save(tmp_path / "deit.pth", {"model": weights}))
    reader = timms(num_classes=CLASSES)
    reader.load_state_dict(timm_vit.checkpoint_filter_fn({"model": weights}, reader))
    agree(saved, reader)
    assert saved.about["imported"]["family"] == "deit"
    assert saved.about["preprocess"]["mean"] == [0.485, 0.456, 0.406]


def test_distilled_deit_gives_the_mean_of_both_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = network(prefix=2) | layer("head", WIDTH, CLASSES) | layer("head_dist", WIDTH, CLASSES)
    weights |= {"dist_token": draw(1, 1, WIDTH)}
    saved = open_weights(save(tmp_path / "deit.pth", {"model": weights}))
    reader = timms(timm_deit.VisionTransformerDistilled, num_classes=CLASSES)
    reader.load_state_dict(weights)
    agree(saved, reader)
    assert saved.about["model"]["name"] == "deit"


def test_deit_iii_has_gammas_and_no_position_for_its_class_token(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = network(gammas=("gamma_1", "gamma_2"), prefix=0) | layer("head", WIDTH, CLASSES)
    saved = open_weights(save(tmp_path / "deit3.pth", {"model": weights}))
    reader = timms(num_classes=CLASSES, no_embed_class=True, init_values=1e-6)
    reader.load_state_dict(timm_vit.checkpoint_filter_fn({"model": weights}, reader, adapt_layer_scale=True))
    agree(saved, reader)
    assert saved.about["preprocess"]["crop"] == 1.0


@pytest.mark.parametrize("wrap", ["bare", "teacher"])
def test_dino_has_no_classes_whether_alone_or_in_its_training(tmp_path: Path, wrap: str) -> None:
    torch.manual_seed(0)
    weights = network()
    whole: object = weights
    if wrap == "teacher":
        projection = layer("head.mlp.0", WIDTH, 16) | {"head.last_layer.weight_g": draw(8, 1)}
        teacher = {f"module.backbone.{name}": tensor for name, tensor in weights.items()}
        teacher |= {f"module.{name}": tensor for name, tensor in projection.items()}
        whole = {"student": {"module.other": draw(1)}, "teacher": teacher, "optimizer": {"state": {}}, "epoch": 3}
    saved = open_weights(save(tmp_path / "dino.pth", whole))
    reader = timms()
    reader.load_state_dict(weights)
    agree(saved, reader)
    assert saved.class_names == ()
    assert saved.about["imported"]["family"] == "dino"
    assert saved.about["imported"]["stretch"]["offset"] == 0.1


def test_the_projection_of_dinos_training_is_left_aside(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = network() | layer("head.mlp.0", WIDTH, 16) | {"head.last_layer.weight_v": draw(8, 4)}
    saved = open_weights(save(tmp_path / "dino.pth", weights))
    told = "dropped  head.last_layer.weight_v (the projection of DINO's training)"
    assert told in saved.about["imported"]["changes"]


@pytest.mark.parametrize("kind", ["mlp", "w12"])
@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2(tmp_path: Path, kind: str, registers: int) -> None:
    torch.manual_seed(0)
    weights = network(kind, ("ls1.gamma", "ls2.gamma")) | {"mask_token": draw(1, WIDTH)}
    weights |= {"register_tokens": draw(1, registers, WIDTH)} if registers else {}
    saved = open_weights(save(tmp_path / "dinov2.pth", weights))
    gated = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 2 * MLP / WIDTH} if kind == "w12" else {}
    reader = timms(init_values=1e-5, reg_tokens=registers, no_embed_class=bool(registers), **gated)
    reader.load_state_dict(timm_vit.checkpoint_filter_fn(dict(weights), reader))
    agree(saved, reader)
    stretch = saved.about["imported"]["stretch"]
    assert (stretch["offset"], stretch["antialias"]) == ((0.0, True) if registers else (0.1, False))
    assert "dropped  mask_token (for the masked images of its training)" in saved.about["imported"]["changes"]


def periods(heads: int = HEADS, base: float = 100.0) -> Tensor:
    """What DINOv3 keeps of its rotary positions (layers/rope_position_encoding.py)."""
    count = WIDTH // heads // 4
    return base ** (2 * torch.arange(count) / (WIDTH // heads // 2))


def dinov3(kind: str) -> Weights:
    weights = network(kind, ("ls1.gamma", "ls2.gamma"), prefix=None)
    weights |= {"storage_tokens": draw(1, 4, WIDTH), "mask_token": draw(1, WIDTH), "rope_embed.periods": periods()}
    mask = torch.cat([torch.ones(WIDTH), torch.zeros(WIDTH), torch.ones(WIDTH)])
    return weights | {f"blocks.{i}.attn.qkv.bias_mask": mask for i in range(DEPTH)}


@pytest.mark.parametrize("kind", ["mlp", "w1"])
def test_dinov3(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    weights = dinov3(kind)
    saved = open_weights(save(tmp_path / "dinov3.pth", weights), changes=[f"model.res={SIDE * PATCH}"])
    reader = timms(
        timm_eva.Eva,
        init_values=1e-5,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        global_pool="token",
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        **({"swiglu_mlp": True, "swiglu_align_to": 8} if kind == "w1" else {}),
    )
    reader.load_state_dict(timm_eva.checkpoint_filter_fn(dict(weights), reader), strict=True)
    agree(saved, reader)
    assert saved.about["model"]["rope_base"] == 100.0
    assert saved.about["model"]["res"] == SIDE * PATCH


def test_dinov3s_mask_takes_the_bias_of_keys_away(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = open_weights(save(tmp_path / "dinov3.pth", dinov3("mlp")))
    bias = saved.weights["blocks.0.attention.qkv.bias"]
    assert bias[WIDTH : 2 * WIDTH].abs().max() == 0
    assert bias[:WIDTH].abs().min() > 0


def test_dinov3s_heads_and_base_are_read_from_its_periods(tmp_path: Path) -> None:
    weights = dinov3("mlp") | {"rope_embed.periods": periods(heads=4, base=1000.0).bfloat16()}
    model = open_weights(save(tmp_path / "dinov3.pth", weights)).about["model"]
    assert (model["heads"], model["rope_base"]) == (4, 1000.0)


def test_heads_that_nothing_tells_are_64_wide_or_as_asked(tmp_path: Path) -> None:
    path = save(tmp_path / "dino.pth", network())
    assert open_weights(path).about["model"]["heads"] == 2
    assert open_weights(path, changes=["model.heads=4"]).about["model"]["heads"] == 4


def test_what_is_missing_unexpected_or_of_another_shape_is_named(tmp_path: Path) -> None:
    weights = network() | layer("head", WIDTH, CLASSES) | {"blocks.0.strange": draw(3)}
    del weights["blocks.1.attn.proj.bias"]
    weights["blocks.1.mlp.fc1.weight"] = draw(MLP + 1, WIDTH)
    with pytest.raises(CheckpointError) as told:
        open_weights(save(tmp_path / "deit.pth", {"model": weights}))
    assert "blocks.0.strange: unexpected" in told.value.problem
    assert "blocks.1.attention.out.bias: missing in the source" in told.value.problem
    assert "blocks.1.mlp.fc1.weight: 161x128 in the source" in told.value.problem
    assert "is 160x128 in the model" in told.value.problem


def test_a_family_that_is_forced_and_wrong_names_the_one_found(tmp_path: Path) -> None:
    path = save(tmp_path / "dino.pth", network())
    with pytest.raises(CheckpointError, match="they look like facebookresearch's DINO") as told:
        open_weights(path, family="google")
    assert told.value.hint == "Write --as dino"
    with pytest.raises(CheckpointError, match="not facebookresearch's DINOv3"):
        open_weights(path, family="dinov3")

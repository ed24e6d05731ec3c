"""What we write for timm, loaded by timm: the same logits, class names and images, without a line of code of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from scripts.parity import stir
from vit_cli.augment.preprocess import Preprocess, build_eval_transform, normalise
from vit_cli.checkpoint.model import write_model
from vit_cli.errors import UsageError
from vit_cli.evaluate.open import open_weights
from vit_cli.export.timm import exact_crop_pct, ratio
from vit_cli.export.write import export_model
from vit_cli.models import Model
from vit_cli.recipe.plain import read_section
from vit_cli.section import Grid, as_grid

pytestmark = pytest.mark.slow

VIT = {"name": "vit", "width": 128, "depth": 2, "heads": 2, "patch": 8, "res": 32}
TNT = {"name": "tnt", "inner_width": 16, "inner_heads": 4, "width": 64, "heads": 1, "depth": 2, "res": 32}
HYBRID = {"name": "hybrid", "backbone": "stem", "convention": "timm", "width": 64, "depth": 1, "heads": 1, "res": 64}
MODELS: dict[str, dict[str, Any]] = {
    "plain": VIT,
    "rows and columns": VIT | {"res": [32, 64]},
    "sines and cosines": VIT | {"positions": "sincos2d"},
    "tables of rows and columns": VIT | {"positions": "learned2d", "gelu": "exact"},
    "no positions": VIT | {"positions": "none"},
    "average after the norm": VIT | {"pool": "gap"},
    "average before it, beside a class token": VIT | {"pool": "gap", "pool_norm": "after", "cls_token": True},
    "MAP": VIT | {"pool": "map"},
    "registers": VIT | {"registers": 3, "layer_scale": 1e-5, "qk_norm": True},
    "registers without class token": VIT | {"registers": 3, "pool": "gap"},
    "no class position": VIT | {"cls_position": False, "registers": 1, "qkv_bias": False},
    "gated": VIT | {"ffn": "swiglu"},
    "a strange MLP": VIT | {"mlp": 333},
    "distilled": VIT | {"name": "deit"},
    "distilled, fixed positions": VIT | {"name": "deit", "positions": "sincos2d"},
    "TNT": TNT,
    "legacy TNT": TNT | {"legacy": True, "positions": "inner"},
    "hybrid": HYBRID | {"patch": 8},
}
DEEP = pytest.param(HYBRID | {"backbone": "r26_32"}, id="hybrid with stages", marks=pytest.mark.slow)


def write(folder: Path, plain: dict[str, Any], **preprocess: Any) -> Path:
    """A model folder of ours with random weights and three classes."""
    torch.manual_seed(0)
    section = read_section(Model, plain)
    about = {
        "model": section.model_dump(mode="json"),
        "res": list(as_grid(section.res)),
        "class_names": ["ant", "bee", "cow"],
        "preprocess": Preprocess(**preprocess).model_dump(mode="json"),
    }
    write_model(folder, stir(section.build(3)).state_dict(), about)
    return folder


def answer(path: Path, images: Tensor) -> Tensor:
    saved = open_weights(path)
    model = read_section(Model, saved.about["model"]).build(3)
    model.load_state_dict(saved.weights)
    return model.eval()(images)


@pytest.mark.parametrize("plain", [*(pytest.param(plain, id=name) for name, plain in MODELS.items()), DEEP])
@torch.inference_mode()
def test_timm_gives_our_logits(plain: dict[str, Any], tmp_path: Path) -> None:
    source = write(tmp_path / "ours", plain)
    done = export_model(source, "timm", tmp_path / "theirs")
    model = timm.create_model(f"local-dir:{done.folder}", pretrained=True).eval()
    images = torch.randn(2, 3, *as_grid(plain["res"] if isinstance(plain["res"], int) else tuple(plain["res"])))
    ours = answer(source, images)
    assert ours.std() > 0.05
    torch.testing.assert_close(model(images), ours, rtol=0, atol=2e-5 if plain["name"] == "hybrid" else 1e-5)
    torch.testing.assert_close(answer(done.folder, images), ours, rtol=0, atol=2e-6)  # and back again
    assert model.pretrained_cfg["label_names"] == ["ant", "bee", "cow"]


@torch.inference_mode()
def test_the_file_loads_by_its_path_and_the_arguments_of_its_config(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT | {"registers": 2})
    folder = export_model(source, "timm", tmp_path / "theirs").folder
    config = json.loads((folder / "config.json").read_text())
    model = timm.create_model(
        config["architecture"], checkpoint_path=folder / "model.safetensors", num_classes=3, **config["model_args"]
    )
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), answer(source, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("preprocess", "atol"),
    [
        ({"crop": 0.8, "mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7)}, 0.1),
        ({"resize": "squash", "interpolation": "bilinear"}, 0.1),
    ],
)
def test_timm_prepares_images_as_we_do(preprocess: dict[str, Any], atol: float, tmp_path: Path) -> None:
    folder = export_model(write(tmp_path / "ours", VIT, **preprocess), "timm", tmp_path / "theirs").folder
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    torch.manual_seed(0)
    coarse = torch.rand(1, 3, 6, 8) * 255
    image = torch.nn.functional.interpolate(coarse, (72, 96), mode="bilinear")[0].to(torch.uint8)
    theirs = create_transform(**resolve_data_config({}, model=model))(to_pil_image(image))
    section = Preprocess(**preprocess)
    ours = normalise(build_eval_transform(section, Grid(32, 32))(image)[None], section)[0]
    assert (theirs - ours).abs().max() < atol * 0.3  # Pillow rounds otherwise by a step or two of 255
    assert (theirs - ours).abs().mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (VIT | {"positions": "rope"}, "positions: rope"),
        (VIT | {"positions": "relative"}, "positions: relative"),
        (VIT | {"positions_at": "layers"}, "positions_at: layers"),
        (VIT | {"attention": "window", "window": 2}, "attention: window"),
        (VIT | {"head": "mlp"}, "head: mlp"),
        (VIT | {"pool": "cls_gap"}, "pool: cls_gap"),
        (VIT | {"pool": "map", "registers": 1}, "pool: map that looks"),
        (VIT | {"norm_eps": 1e-5}, "norm_eps is 1e-05"),
        (HYBRID | {"convention": "flax", "patch": 8}, "convention: flax"),
        (TNT | {"norm_eps": 1e-6}, "norm_eps is 1e-06"),
        ({"name": "resnet", "size": 18, "res": 32}, "not resnet"),
    ],
)
def test_what_timm_has_no_word_for_is_refused_with_the_reason(
    plain: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "ours", plain)
    with pytest.raises(UsageError) as told:
        export_model(source, "timm", tmp_path / "theirs")
    assert reason in told.value.problem
    assert not (tmp_path / "theirs").exists()


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT | {"positions": "rope", "head": "mlp"})
    with pytest.raises(UsageError, match=r"positions: rope; head: mlp"):
        export_model(source, "timm", tmp_path / "theirs")


@pytest.mark.parametrize("side", [32, 224, 256, 384, 518])
@pytest.mark.parametrize("crop", [0.5, 0.875, 0.9, 0.95, 0.965, 224 / 248, 1.0])
def test_timm_resizes_to_the_side_that_we_do(side: int, crop: float) -> None:
    assert int(side / exact_crop_pct(side, crop)) == round(side / crop)


@pytest.mark.parametrize(("hidden", "width"), [(4304, 1152), (333, 128), (15360, 1792), (1, 3)])
def test_timm_rounds_the_ratio_to_the_width_of_the_mlp(hidden: int, width: int) -> None:
    assert int(width * ratio(hidden, width)) == hidden

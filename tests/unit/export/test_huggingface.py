"""What we write for transformers, loaded by its Auto classes: the same logits, labels and images, without our code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoImageProcessor, AutoModelForImageClassification

from tests.unit.export.test_timm import HYBRID, TNT, VIT, answer, write
from vit_cli.augment.preprocess import Preprocess, build_eval_transform, normalise
from vit_cli.errors import UsageError
from vit_cli.export.write import export_model
from vit_cli.section import Grid, as_grid

pytestmark = pytest.mark.slow

MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": (VIT, "ViTForImageClassification"),
    "rows and columns": (VIT | {"res": [32, 64]}, "ViTForImageClassification"),
    "exact GELU, another epsilon, no biases": (
        VIT | {"gelu": "exact", "norm_eps": 1e-12, "qkv_bias": False},
        "ViTForImageClassification",
    ),
    "sines and cosines": (VIT | {"positions": "sincos2d"}, "ViTForImageClassification"),
    "no positions": (VIT | {"positions": "none"}, "ViTForImageClassification"),
    "no class position": (VIT | {"cls_position": False}, "ViTForImageClassification"),
    "one register": (VIT | {"registers": 1}, "DeiTForImageClassification"),
    "distilled": (VIT | {"name": "deit"}, "DeiTForImageClassificationWithTeacher"),
    "LayerScale": (VIT | {"layer_scale": 1e-4, "cls_position": False}, "Dinov2ForImageClassification"),
    "class token and mean": (VIT | {"pool": "cls_gap", "layer_scale": 1e-5}, "Dinov2ForImageClassification"),
    "mean beside a class token": (VIT | {"pool": "gap", "cls_token": True}, "Dinov2ForImageClassification"),
    "registers": (VIT | {"registers": 4, "layer_scale": 1e-5}, "Dinov2WithRegistersForImageClassification"),
    "gated": (VIT | {"ffn": "swiglu", "mlp": 176}, "Dinov2ForImageClassification"),
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize(("plain", "kind"), MODELS.values(), ids=MODELS.keys())
@torch.inference_mode()
def test_transformers_gives_our_logits(plain: dict[str, Any], kind: str, tmp_path: Path) -> None:
    preprocess = {"resize": "squash"} if isinstance(plain["res"], list) else {}
    source = write(tmp_path / "ours", plain, **preprocess)
    folder = export_model(source, "hf", tmp_path / "theirs").folder
    model, loaded = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == kind
    assert not any(loaded[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    images = torch.randn(2, 3, *as_grid(plain["res"] if isinstance(plain["res"], int) else tuple(plain["res"])))
    ours = answer(source, images)
    assert ours.std() > 0.05
    torch.testing.assert_close(model.eval()(images).logits, ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(answer(folder, images), ours, rtol=0, atol=2e-6)  # and back again
    assert model.config.id2label == {0: "ant", 1: "bee", 2: "cow"}
    assert model.config.label2id == {"ant": 0, "bee": 1, "cow": 2}


@pytest.mark.parametrize(
    "preprocess",
    [
        {"crop": 0.8, "mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7)},
        {"crop": 1.0, "interpolation": "bilinear"},
        {"resize": "squash", "interpolation": "bilinear"},
        {"resize": "squash"},
    ],
)
@pytest.mark.parametrize("size", [(72, 96), (50, 40), (32, 32), (20, 90)])
def test_its_image_processor_prepares_images_as_we_do(
    preprocess: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    folder = export_model(write(tmp_path / "ours", VIT, **preprocess), "hf", tmp_path / "theirs").folder
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    section = Preprocess(**preprocess)
    ours = normalise(build_eval_transform(section, Grid(32, 32))(image)[None], section)
    theirs = AutoImageProcessor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("plain", "preprocess", "reason"),
    [
        (VIT | {"positions": "rope"}, {}, "positions: rope"),
        (VIT | {"positions_at": "shared"}, {}, "positions_at: shared"),
        (VIT | {"attention": "axial"}, {}, "attention: axial"),
        (VIT | {"qk_norm": True}, {}, "qk_norm"),
        (VIT | {"head": "mlp"}, {}, "head: mlp"),
        (VIT | {"pool": "gap"}, {}, "no class token"),
        (VIT | {"pool": "map"}, {}, "pool: map"),
        (VIT | {"pool": "gap", "cls_token": True, "pool_norm": "after"}, {}, "pool_norm: after"),
        (VIT | {"layer_scale": 1e-4, "mlp": 200}, {}, "an MLP of 200 in a width of 128"),
        (VIT | {"name": "deit", "registers": 1}, {}, "a register beside a distillation token"),
        (VIT | {"name": "deit", "layer_scale": 1e-4}, {}, "layer_scale"),
        (VIT | {"res": [32, 64]}, {}, "cut squares only"),
        (TNT, {}, "not tnt"),
        (HYBRID | {"patch": 8}, {}, "not hybrid"),
    ],
)
def test_what_transformers_has_no_word_for_is_refused_with_the_reason(
    plain: dict[str, Any], preprocess: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "ours", plain, **preprocess)
    with pytest.raises(UsageError) as told:
        export_model(source, "hf", tmp_path / "theirs")
    assert reason in told.value.problem
    assert not (tmp_path / "theirs").exists()

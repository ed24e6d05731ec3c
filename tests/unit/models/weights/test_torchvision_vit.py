"""torchvision's Vision Transformer with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import get_model
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from tests.unit.models.weights.built import build
from vit_cli.evaluate.open import open_weights

PATCH, SIDE = 8, 4


def theirs(side: int = SIDE, hidden: int | None = None) -> VisionTransformer:
    model = VisionTransformer(
        image_size=side * PATCH,
        patch_size=PATCH,
        num_layers=2,
        num_heads=2,
        hidden_dim=128,
        mlp_dim=160,
        num_classes=5,
        representation_size=hidden,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The MLP's names of torchvision 0.12, as its `MLPBlock._load_from_state_dict` still reads them."""
    return {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): t for name, t in weights.items()
    }


@pytest.mark.parametrize("hidden", [None, 24], ids=["linear", "pre_logits"])
@pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])
@torch.no_grad()
def test_logits_are_torchvisions(tmp_path: Path, hidden: int | None, is_old: bool) -> None:
    torch.manual_seed(0)
    model = theirs(hidden=hidden)
    weights = model.state_dict()
    torch.save(old_names(weights) if is_old else weights, tmp_path / "vit.pth")
    images = torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH)
    saved = open_weights(tmp_path / "vit.pth")
    torch.testing.assert_close(build(saved)(images), model(images), atol=1e-5, rtol=0)
    assert saved.about["preprocess"]["interpolation"] == "bilinear"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32"])
@torch.no_grad()
def test_logits_are_torchvisions_of_published_models(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    model = get_model(name).eval()
    torch.nn.init.normal_(model.heads.head.weight, std=0.02)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    images = torch.randn(2, 3, 224, 224)
    saved = open_weights(tmp_path / "vit.pth")
    torch.testing.assert_close(build(saved)(images), model(images), atol=1e-5, rtol=0)
    assert (saved.about["model"]["size"], saved.class_names[0]) == ("base", "tench")


@torch.no_grad()
def test_logits_are_torchvisions_at_another_resolution(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = theirs().state_dict()
    torch.save(weights, tmp_path / "vit.pth")
    model = theirs(side=6)
    model.load_state_dict(interpolate_embeddings(6 * PATCH, PATCH, weights))
    images = torch.randn(2, 3, 6 * PATCH, 6 * PATCH)
    saved = open_weights(tmp_path / "vit.pth", changes=[f"model.res={6 * PATCH}"], own_stretch=True)
    torch.testing.assert_close(build(saved)(images), model(images), atol=1e-5, rtol=0)

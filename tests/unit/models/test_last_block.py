"""A last block that works out what is read, against the whole block."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vit_cli.models.classifier import Classifier
from vit_cli.models.deit import Deit
from vit_cli.models.last_block import LastBlock, count_read, reading_least
from vit_cli.models.vit import Vit

DIMS: dict[str, Any] = {"width": 24, "depth": 2, "heads": 2, "patch": 4, "res": 16}
KINDS: dict[str, Vit | Deit] = {
    "plain": Vit(**DIMS),
    "deit": Deit(**DIMS),
    "norm after": Vit(**DIMS, pool_norm="after"),
    "relative": Vit(**DIMS, positions="relative"),
    "relative shared": Vit(**DIMS, positions="relative", positions_at="shared"),
    "rope, registers, no bias": Vit(**DIMS, positions="rope", registers=2, qkv_bias=False),
    "windows": Vit(**DIMS, attention="window", window=3),
    "axes": Vit(**DIMS, attention="axial"),
    "norms and scales": Vit(**DIMS, qk_norm=True, layer_scale=0.5, ffn="swiglu"),
}


def build(section: Vit | Deit) -> Classifier:
    """Build a model whose every weight matters."""
    torch.manual_seed(0)
    model = section.build(5).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("section", KINDS.values(), ids=KINDS)
def test_the_answers_are_those_of_the_whole_block(section: Vit | Deit) -> None:
    model, images = build(section), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected, features, last = model(images), model.features(images), model.blocks[-1]
        with reading_least(model):
            assert isinstance(model.blocks[-1], LastBlock)
            torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(model.features(images), features, rtol=1e-4, atol=1e-5)
        assert model.blocks[-1] is last
        assert torch.equal(model(images), expected)


@pytest.mark.parametrize("pool", ["gap", "map", "cls_gap"])
def test_models_that_read_patches_keep_them(pool: Any) -> None:
    model = build(Vit(**DIMS, pool=pool))
    assert count_read(model) is None
    with reading_least(model):
        assert not isinstance(model.blocks[-1], LastBlock)


def test_a_model_in_training_is_left_alone() -> None:
    model = build(Vit(**DIMS)).train()
    with reading_least(model):
        assert not isinstance(model.blocks[-1], LastBlock)

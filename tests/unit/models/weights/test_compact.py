"""The compact transformers' authors' files; what their names stand for, test_cct.py compares with the authors' forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.models.test_cct import CVT, TWICE, VIT_LITE, build, interleaved_sines, with_authors_names
from vit_cli.evaluate.open import open_weights
from vit_cli.models.cct import CCT_SIZES


@pytest.mark.parametrize("form", [{}, TWICE, CVT, VIT_LITE, {"positions": "none"}], ids=str)
def test_every_form_is_told_by_its_names_and_shapes(tmp_path: Path, form: dict[str, Any]) -> None:
    model = build(res=(64, 64), **form)
    torch.save(with_authors_names(model.state_dict()), tmp_path / "cct.pth")
    changes = ["model.heads=3"] + (["model.res=64"] if form.get("positions") == "none" else [])
    saved = open_weights(tmp_path / "cct.pth", changes=changes)
    section = saved.about["model"]
    assert {key: section[key] for key in form} == form
    assert saved.about["res"] == [64, 64]
    own = model.state_dict()
    assert own.keys() == saved.weights.keys()
    assert all(torch.equal(saved.weights[name], tensor) for name, tensor in own.items())


@pytest.mark.parametrize("pool", ["seq", "cls"])
def test_a_table_of_sines_is_fixed_whatever_the_file_says(tmp_path: Path, pool: str) -> None:
    model = build(res=(16, 16), positions="sincos", pool=pool)
    tokens = 64 + (pool == "cls")
    weights = with_authors_names(model.state_dict()) | {"classifier.positional_emb": interleaved_sines(tokens, 24)}
    torch.save(weights, tmp_path / "cct.pth")
    saved = open_weights(tmp_path / "cct.pth", changes=["model.heads=3"])
    assert (saved.about["model"]["positions"], saved.about["res"]) == ("sincos", [16, 16])
    assert saved.weights.keys() == model.state_dict().keys()


@pytest.mark.parametrize("classes", [10, 100])
def test_images_of_32_pixels_are_cifars(tmp_path: Path, classes: int) -> None:
    size = CCT_SIZES["cct_2"]
    model = build(classes, res=(32, 32), **size._asdict())
    torch.save(with_authors_names(model.state_dict()), tmp_path / "cct.pth")
    saved = open_weights(tmp_path / "cct.pth")
    assert (saved.about["model"]["size"], saved.about["res"]) == ("cct_2", [32, 32])
    assert saved.about["preprocess"]["mean"] == (
        [0.4914, 0.4822, 0.4465] if classes == 10 else [0.5071, 0.4867, 0.4408]
    )

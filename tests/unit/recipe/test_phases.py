"""Which models can be trained on less of an image."""

from __future__ import annotations

import pytest

from vit_cli.errors import RecipeError
from vit_cli.recipe.load import load_recipe

VIT = "name: vit, width: 32, depth: 2, heads: 2, patch: 8, res: 32"
RELATIVE = f"model={{{VIT}, positions: relative}}"
WINDOWS = f"model={{{VIT}, positions: rope, attention: window, window: 2}}"
AXIAL = f"model={{{VIT}, attention: axial}}"
LAYERS = f"model={{{VIT}, positions_at: layers}}"
SHARED = f"model={{{VIT}, positions: sincos2d, positions_at: shared}}"
TNT = "model={name: tnt, size: tiny, res: 32}"
CCT = "model={name: cct, size: cct_2, res: 32}"
RESNET = "model={name: resnet, size: 18, res: 32, small_stem: true}"
CONVNEXT = "model={name: convnext, res: 64}"


@pytest.mark.parametrize(
    ("model", "phase", "problem"),
    [
        (f"model={{{VIT}}}", "res: 20", "train.phases.0.res  20 is not a multiple of patch 8; the nearest are 16 and 24"),
        (f"model={{{VIT}}}", "res: 40", "train.phases.0.res  40x40 is larger than model.res, 32x32"),
        (f"model={{{VIT}}}", "res: [32, 40]", "train.phases.0.res  32x40 is larger than model.res, 32x32"),
        (CONVNEXT, "res: 16", "train.phases.0.res  res 16x16 leaves nothing of an image; it takes 32 pixels"),
        (RELATIVE, "res: 16", "train.phases.0.res  positions: relative is bound to the grid of model.res, 32x32"),
        (WINDOWS, "res: 16", "train.phases.0.res  attention: window is bound to the grid"),
        (AXIAL, "res: 16", "train.phases.0.res  attention: axial is bound to the grid"),
        (TNT, "res: 16", "train.phases.0.res  a tnt takes images of model.res only; choose vit, deit, hybrid, resnet or convnext"),
        (CCT, "res: 16", "train.phases.0.res  a cct takes images of model.res only"),
        (RELATIVE, "drop_tokens: 0.5", "needs a model that can do without some patches, and positions: relative"),
        (WINDOWS, "drop_tokens: 0.5", "and attention: window needs all"),
        (LAYERS, "drop_tokens: 0.5", "and positions_at: layers places all of them before every block; positions_at: stem does not"),
        (SHARED, "drop_tokens: 0.5", "and positions_at: shared places all"),
        (TNT, "drop_tokens: 0.5", "and a tnt is none; vit, deit and hybrid are"),
        (RESNET, "drop_tokens: 0.5", "and a resnet is none"),
        (f"model={{{VIT}}}", "drop_tokens: 1.0", "train.phases.0.drop_tokens  expected a number"),
        (f"model={{{VIT}}}", "drop_token: 0.5", "train.phases.0.drop_token  unknown key; did you mean 'drop_tokens'?"),
    ],
)  # fmt: skip
def test_what_a_model_can_not_do_with_is_refused_with_what_can(model: str, phase: str, problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("smoke", [model, f"train.phases=[{{until: 50%, {phase}}}]"])
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("model", "phase"),
    [
        (f"model={{{VIT}}}", "res: [16, 24], drop_tokens: 0.5"),
        (f"model={{{VIT}, positions: rope}}", "res: 16, drop_tokens: 0.5"),
        (LAYERS, "res: 16"),
        (SHARED, "res: 16"),
        (AXIAL, "res: 32"),
        (CCT, "res: 32"),
        (RESNET, "res: 20"),
        (CONVNEXT, "res: 32"),
        ("model={name: hybrid, size: tiny, backbone: stem, patch: 2, res: 32}", "res: 16, drop_tokens: 0.9"),
        ("model={name: deit, size: tiny, res: 32}", "res: 16, drop_tokens: 0.5"),
    ],
)
def test_what_a_model_can_do_with_is_not(model: str, phase: str) -> None:
    recipe = load_recipe("smoke", [model, f"train.phases=[{{until: 50%, {phase}}}]"]).recipe
    assert len(recipe.train.phases) == 1

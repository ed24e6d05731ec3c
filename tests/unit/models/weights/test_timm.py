"""timm's folders and files against timm itself: the same logits at both resolutions, and the same weights on the way back."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import model_entrypoint

from scripts.parity import SMALL, Case, compare, list_small, stir
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.open import open_weights
from vit_cli.models import Model
from vit_cli.models.weights.known import find_naming
from vit_cli.models.weights.naming import Foreign, to_theirs
from vit_cli.models.weights.timm_config import exact_crop
from vit_cli.models.weights.timm_vit import has_tanh
from vit_cli.recipe.plain import read_section

pytestmark = pytest.mark.slow

CASES = [case for case in list_small() if case.family.startswith("timm")]
DEEP = [case for case in CASES if case.size.startswith(("R26", "R50"))]
QUICK = [case for case in CASES if case not in DEEP]


def title(case: Case) -> str:
    return f"{case.family}: {case.size}"


def write(path: Path, config: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A small ViT of timm's in a folder, with a config or without one."""
    torch.manual_seed(0)
    path.mkdir()
    model = stir(timm.create_model("vit_base_patch16_224", **SMALL | {"img_size": 32, "num_classes": 3} | settings))
    save_file(model.state_dict(), path / "model.safetensors")
    if config is not None:
        (path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_224", **config}))
        return path
    return path / "model.safetensors"


@pytest.mark.parametrize("case", QUICK, ids=title)
def test_logits_are_timms_at_both_resolutions(case: Case, tmp_path: Path) -> None:
    for difference in compare(case, tmp_path).values():
        assert difference.spread > 0.1
        assert difference.largest < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("case", DEEP, ids=title)
def test_deep_hybrids_differ_by_rounding_alone(case: Case, tmp_path: Path) -> None:
    for difference in compare(case, tmp_path, torch.float64).values():
        assert difference.spread > 0.1
        assert difference.largest < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK + DEEP[-1:], ids=title)
def test_the_way_there_and_back_is_exact(case: Case, tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = open_weights(case.make(tmp_path).path)
    section = read_section(Model, saved.about["model"])
    naming = find_naming(saved.about["imported"]["family"])
    theirs = to_theirs(naming, section, saved.weights)
    (tmp_path / "back").mkdir()
    save_file(theirs, tmp_path / "back/back.safetensors")
    keys = {key: value for key, value in saved.about["model"].items() if value is not None and key != "name"}
    changes = [f"model.{key}={json.dumps(value)}" for key, value in keys.items()]
    again = open_weights(tmp_path / "back/back.safetensors", naming.name, changes)
    assert again.about["model"] == saved.about["model"]
    assert again.weights.keys() == saved.weights.keys()
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in saved.weights.items())


def test_the_authors_names_of_tnt_are_read_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = stir(
        timm.create_model("tnt_s_patch16_224", img_size=32, embed_dim=64, inner_dim=8, depth=1, num_heads_outer=1)
    )
    words = {
        "patch_pos": "outer_pos", "pixel_pos": "inner_pos", "pixel_embed": "patch_embed", "norm1_proj": "proj_norm1",
        "norm2_proj": "proj_norm2", "norm_in": "inner_norm1", "attn_in": "inner_attn", "norm_mlp_in": "inner_norm2",
        "mlp_in": "inner_mlp", "norm_out": "outer_norm1", "attn_out": "outer_attn", "norm_mlp": "outer_norm2", "mlp": "outer_mlp",
    }  # fmt: skip
    named = {
        ".".join(words.get(part, part) for part in name.split(".")): tensor
        for name, tensor in model.state_dict().items()
    }
    named["inner_pos"] = named["inner_pos"].flatten(2).mT.contiguous()
    named["outer_tokens"] = torch.zeros(1, 4, 64)
    save_file(named, tmp_path / "tnt.safetensors")
    saved = open_weights(tmp_path / "tnt.safetensors")
    ours = read_section(Model, saved.about["model"]).build(1000)
    ours.load_state_dict(saved.weights)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(images), model(images), rtol=0, atol=1e-5)
    assert "dropped  outer_tokens (nothing uses it)" in saved.about["imported"]["changes"]


def test_a_config_tells_heads_activation_classes_and_images(tmp_path: Path) -> None:
    config = {
        "label_names": ["ant", "bee", "cow"],
        "model_args": {"num_heads": 4, "act_layer": "gelu_tanh"},
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "crop_pct": 0.875, "interpolation": "bilinear"},
    }
    about = open_weights(write(tmp_path / "folder", config)).about
    assert (about["model"]["heads"], about["model"]["gelu"], about["class_names"]) == (4, "tanh", ["ant", "bee", "cow"])
    assert about["preprocess"] == {
        "mean": [0.1, 0.2, 0.3],
        "std": [1.0, 1.0, 1.0],
        "crop": 0.875,
        "resize": "short",
        "interpolation": "bilinear",
    }


def test_a_bare_file_is_prepared_for_as_its_family(tmp_path: Path) -> None:
    assert open_weights(write(tmp_path / "vit")).about["preprocess"]["mean"] == [0.5, 0.5, 0.5]
    assert open_weights(write(tmp_path / "deit3", init_values=1e-4)).about["preprocess"]["mean"] == [
        0.485,
        0.456,
        0.406,
    ]


def test_a_grid_that_is_no_square_comes_from_the_config(tmp_path: Path) -> None:
    config = {"pretrained_cfg": {"input_size": [3, 32, 64]}}
    folder = write(tmp_path / "folder", config, img_size=(32, 64))
    assert open_weights(folder).about["res"] == [32, 64]
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="no square grid"):
        open_weights(folder / "model.safetensors")


@pytest.mark.parametrize("heads", [0, -1, "two", 1.5])
def test_a_strange_config_is_refused_by_its_key(tmp_path: Path, heads: object) -> None:
    with pytest.raises(CheckpointError, match="num_heads"):
        open_weights(write(tmp_path / "folder", {"model_args": {"num_heads": heads}}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop_pct", 0), ("crop_pct", "all"), ("mean", 0.5), ("std", [1, 2]), ("std", [0, 1, 1]), ("mean", ["a"] * 3)],
)
def test_strange_preprocessing_is_refused_by_its_key(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=key):
        open_weights(write(tmp_path / "folder", {"pretrained_cfg": {key: value}}))


@pytest.mark.parametrize(
    "name", ["head.weight", "cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc2.weight"]
)
def test_a_tensor_without_dimensions_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "folder")
    save_file(load_file(path) | {name: torch.tensor(1.0)}, path)
    with pytest.raises(CheckpointError, match=re.escape(name)):
        open_weights(path)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vit_base_patch16_224.augreg_in21k", {}),
        ("deit3_base_patch16_224.fb_in1k", {"init_values": 1e-4, "no_embed_class": True}),
        ("vit_base_patch14_dinov2.lvd142m", {"init_values": 1e-5, "patch_size": 14, "img_size": 28}),
        (
            "vit_base_patch14_reg4_dinov2.lvd142m",
            {"init_values": 1e-5, "patch_size": 14, "img_size": 28, "reg_tokens": 4, "no_embed_class": True},
        ),
    ],
)
def test_without_a_config_images_are_as_timms_own_configs_say(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    theirs = timm.get_pretrained_cfg(name)
    ours = open_weights(write(tmp_path / "vit", **settings)).about["preprocess"]
    assert (ours["mean"], ours["std"]) == (list(theirs.mean), list(theirs.std))
    assert ours["interpolation"] == theirs.interpolation
    assert math.floor(224 / theirs.crop_pct) == round(224 / ours["crop"])


def test_weights_that_fit_two_families_say_so_and_how_to_choose(tmp_path: Path) -> None:
    content = {"model": load_file(write(tmp_path / "vit")), "epoch": 3}
    torch.save(content, tmp_path / "vit.pth")
    guessed, told = (open_weights(tmp_path / "vit.pth", family).about for family in (None, "timm"))
    assert guessed["imported"]["title"] == "facebookresearch's DeiT"
    assert "guessed  the names fit timm's ViT too: vit import --as timm" in guessed["imported"]["changes"]
    assert (told["imported"]["family"], told["preprocess"]["mean"]) == ("timm", [0.5, 0.5, 0.5])
    assert not any(line.startswith("guessed") for line in told["imported"]["changes"])


def test_weights_of_one_family_alone_are_no_guess(tmp_path: Path) -> None:
    for path in (write(tmp_path / "bare"), write(tmp_path / "folder", {})):
        changes = open_weights(path).about["imported"]["changes"]
        assert [line for line in changes if line.startswith("guessed")] == []


def test_map_pooling_that_leaves_a_class_token_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="attn_pool"):
        open_weights(write(tmp_path / "folder", {}, global_pool="map"))


def test_a_layer_that_no_model_of_ours_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="norm_pre, CLIP's LayerNorm before the blocks"):
        open_weights(write(tmp_path / "folder", {}, pre_norm=True))


def test_names_tell_which_models_have_the_gelu_of_tanh() -> None:
    names = timm.list_models("vit_*")
    theirs = [name for name in names if "gelu_tanh" in model_entrypoint(name).__code__.co_consts]
    assert [name for name in names if has_tanh(Foreign({}, {"architecture": name}))] == theirs
    assert len(theirs) > 10


@pytest.mark.parametrize("side", [224, 256, 384, 518])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 0.965, 1.0])
def test_the_share_gives_the_side_that_timm_resizes_to(side: int, crop_pct: float) -> None:
    assert round(side / exact_crop(side, crop_pct)) == int(side / crop_pct)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"architecture": "vit_base_patch16_rpn_224"}, "norms after the branches"),
        ({"architecture": "vit_base_patch16_rope_ape_224"}, "rotary positions"),
        ({"model_args": {"act_layer": "relu"}}, "act_layer is 'relu'"),
        ({"model_args": {"act_layer": ["gelu"]}}, "act_layer"),
        ({"model_args": {"global_pool": "avgmax"}}, "global_pool is 'avgmax'"),
        ({"model_args": {"global_pool": "avg", "pool_include_prefix": True}}, "pool_include_prefix"),
        ({"model_args": {"block_fn": "ResPostBlock"}}, "block_fn"),
    ],
    ids=str,
)
def test_what_tensors_do_not_show_is_refused_by_the_config(tmp_path: Path, config: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        open_weights(write(tmp_path / "folder", config))


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_patch16_rope_224"])
def test_rotary_positions_are_not_taken_for_none(name: str, tmp_path: Path) -> None:
    model = timm.create_model(name, depth=1)
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match=r"lack pos_embed.*rotary"):
        open_weights(tmp_path / "bare.safetensors")


def test_a_pool_that_timm_leaves_open_is_told_by_the_tensors(tmp_path: Path) -> None:
    saved = open_weights(write(tmp_path / "folder", {"global_pool": "", "model_args": {"num_heads": 4}}))
    assert saved.about["model"]["pool"] == "cls"

"""Hugging Face's folders against transformers itself: the same logits at both resolutions, and the same weights on the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from scripts.parity import HF_MLP, HF_SMALL, Case, compare, list_small, stir
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.open import open_weights
from vit_cli.models import Model
from vit_cli.models.weights.hf_config import preprocess
from vit_cli.models.weights.known import find_naming
from vit_cli.models.weights.naming import Foreign, to_theirs
from vit_cli.recipe.plain import read_section

pytestmark = pytest.mark.slow

CASES = [case for case in list_small() if case.family.startswith("Hugging Face")]
KINDS = [
    ("ViT", "ForImageClassification", HF_MLP),
    ("DeiT", "ForImageClassification", HF_MLP),
    ("DeiT", "ForImageClassificationWithTeacher", HF_MLP),
    ("Dinov2", "ForImageClassification", HF_SMALL | {"mlp_ratio": 4, "use_swiglu_ffn": True}),
    ("Dinov2WithRegisters", "ForImageClassification", HF_SMALL | {"mlp_ratio": 2}),
]
DINOV3 = ("DINOv3ViT", "Model", HF_MLP | {"use_gated_mlp": True, "hidden_act": "silu", "num_register_tokens": 2})
DEFAULT = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop": 0.875, "resize": "short", "interpolation": "bicubic"}


def make(kind: str, head: str = "ForImageClassification", **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(image_size=32, num_labels=3, **settings)
    return stir(getattr(transformers, kind + head)(config))


def write(folder: Path, preprocessor: dict[str, Any] | None = None, **config: Any) -> Path:
    """A small ViT as transformers writes it, some keys of its config replaced."""
    make("ViT", **HF_MLP).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}: {case.size}")
def test_logits_are_transformers_at_both_resolutions(case: Case, tmp_path: Path) -> None:
    for difference in compare(case, tmp_path).values():
        assert difference.spread > 0.1
        assert difference.largest < 1e-5


@pytest.mark.parametrize(("kind", "head", "settings"), [*KINDS, DINOV3])
def test_names_in_memory_and_on_the_disk_are_read_alike(
    kind: str, head: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    model = make(kind, head, **settings)
    model.save_pretrained(tmp_path)
    on_disk = open_weights(tmp_path)
    live = model.state_dict()
    assert any(name.endswith("q_proj.weight") for name in live), "transformers 5 has other names in memory"
    save_file({name: tensor.contiguous() for name, tensor in live.items()}, tmp_path / "model.safetensors")
    in_memory = open_weights(tmp_path)
    assert in_memory.about["model"] == on_disk.about["model"]
    assert all(torch.equal(in_memory.weights[name], tensor) for name, tensor in on_disk.weights.items())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "head", "settings"), KINDS)
def test_the_way_there_and_back_is_exact(kind: str, head: str, settings: dict[str, Any], tmp_path: Path) -> None:
    make(kind, head, **settings).save_pretrained(tmp_path)
    saved = open_weights(tmp_path)
    section = read_section(Model, saved.about["model"])
    naming = find_naming(saved.about["imported"]["family"])
    save_file(to_theirs(naming, section, saved.weights), tmp_path / "model.safetensors")
    again = open_weights(tmp_path)
    assert again.about["model"] == saved.about["model"]
    assert again.weights.keys() == saved.weights.keys()
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in saved.weights.items())


def test_a_model_without_a_head_gives_the_features_and_drops_its_pooler(tmp_path: Path) -> None:
    config = transformers.ViTConfig(image_size=32, **HF_MLP)
    torch.manual_seed(0)
    model = stir(transformers.ViTModel(config))
    model.save_pretrained(tmp_path)
    saved = open_weights(tmp_path)
    assert saved.class_names == ()
    assert "dropped  pooler.dense.weight (classifiers do without it)" in saved.about["imported"]["changes"]
    ours = read_section(Model, saved.about["model"]).build(0)
    ours.load_state_dict(saved.weights)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        theirs = model(images).last_hidden_state[:, 0]
        torch.testing.assert_close(ours.eval()(images), theirs, rtol=0, atol=1e-5)


def test_a_gate_that_is_not_silus_is_refused(tmp_path: Path) -> None:
    make("DINOv3ViT", "Model", **HF_MLP | {"use_gated_mlp": True, "hidden_act": "gelu"}).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected 'silu'"):
        open_weights(tmp_path)


def test_labels_and_heads_come_from_the_config(tmp_path: Path) -> None:
    names = {"0": "ant", "1": "bee", "2": "cow"}
    about = open_weights(write(tmp_path, id2label=names, num_attention_heads=4)).about
    assert (about["class_names"], about["model"]["heads"]) == (["ant", "bee", "cow"], 4)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"hidden_act": ["gelu"]}, "hidden_act"),
        ({"num_attention_heads": "many"}, "num_attention_heads"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps"),
    ],
)
def test_a_strange_config_is_refused_by_its_key(tmp_path: Path, config: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        open_weights(write(tmp_path, **config))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, {}),
        (
            {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": 224, "resample": 2, "do_resize": True},
            {"mean": [0.1] * 3, "std": [0.2] * 3, "crop": 1.0, "resize": "squash", "interpolation": "bilinear"},
        ),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
            {"crop": 0.875},
        ),
        ({"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3}, {"crop": 0.875}),
        (
            {"size": {"height": 224, "width": 224}, "image_processor_type": "ViTImageProcessor", "do_normalize": False},
            {"mean": [0.0] * 3, "std": [1.0] * 3, "crop": 1.0, "resize": "squash", "interpolation": "bilinear"},
        ),
    ],
)
def test_preprocessing_comes_from_its_own_config(told: dict[str, Any], expected: dict[str, Any]) -> None:
    assert preprocess(Foreign({}, {}, told), DEFAULT) == DEFAULT | expected


@pytest.mark.parametrize("told", [{"do_rescale": False}, {"rescale_factor": 1 / 127.5}, {"rescale_factor": "x"}])
def test_pixels_in_another_range_are_refused(told: dict[str, Any]) -> None:
    assert preprocess(Foreign({}, {}, {"rescale_factor": 0.00392156862745098}), DEFAULT)["mean"] == DEFAULT["mean"]
    with pytest.raises(CheckpointError, match="pixels are multiplied by"):
        preprocess(Foreign({}, {}, told), DEFAULT)


@pytest.mark.parametrize("kind", ["ViT", "DeiT"])
def test_weights_are_called_as_their_config_does(tmp_path: Path, kind: str) -> None:
    make(kind, **HF_MLP).save_pretrained(tmp_path)
    assert open_weights(tmp_path).about["imported"]["title"] == f"Hugging Face's {kind}"

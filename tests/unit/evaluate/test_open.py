"""Weights of other libraries become what a checkpoint of ours is: a model, its classes, its images."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from vit_cli.checkpoint.model import open_model, write_model
from vit_cli.data.imagenet import PLACES, are_same, imagenet_names, name_wordnet
from vit_cli.data.imagenet import name_classes as name_imagenets
from vit_cli.data.samples import Pixels
from vit_cli.data.targets import as_marks
from vit_cli.dist.world import join_world
from vit_cli.errors import CheckpointError, UsageError, VitError
from vit_cli.evaluate.open import make_unique, name_classes, open_weights, tell_import
from vit_cli.evaluate.saved import get_ready

pytestmark = pytest.mark.slow


def weights(classes: int = 5) -> dict[str, Tensor]:
    """A small ViT with torchvision's names."""
    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=128, mlp_dim=160, num_classes=classes
    )
    return dict(model.state_dict())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.save(weights(), tmp_path / "vit.pth")
    return tmp_path / "vit.pth"


def test_all_that_a_checkpoint_says_of_itself_is_said(source: Path, tmp_path: Path) -> None:
    saved = open_weights(source)
    write_model(tmp_path / "model", saved.weights, saved.about)
    again = open_model(tmp_path / "model")
    assert json.loads(json.dumps(saved.about)).items() <= again.about.items()
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in saved.weights.items())


def test_ours_are_opened_as_ever_and_take_no_family(source: Path, tmp_path: Path) -> None:
    saved = open_weights(source)
    write_model(tmp_path / "model", saved.weights, saved.about)
    assert open_weights(tmp_path / "model").about["imported"]["family"] == "torchvision"
    for arguments in ({"family": "torchvision"}, {"changes": ["model.heads=2"]}):
        with pytest.raises(UsageError, match="takes no --as and no model"):
            open_weights(tmp_path / "model", **arguments)


def test_eval_and_predict_get_the_model_from_the_file_itself(source: Path) -> None:
    ready = get_ready(source, join_world("cpu"), res=48)
    assert ready.res == (48, 48)
    assert ready.data is None
    assert ready.preprocess.mean == (0.485, 0.456, 0.406)
    assert [change.split()[0] for change in ready.changes] == ["weights", "loaded", "images", "positions"]


def test_what_became_of_the_weights_is_told_in_words(source: Path) -> None:
    numbers = sum(tensor.numel() for tensor in weights().values()) / 1e6
    assert tell_import(open_weights(source)) == [
        "weights  torchvision's ViT",
        f"loaded  {len(weights())} tensors, {numbers:.2f} M numbers",
        "images  mean 0.485 0.456 0.406, std 0.229 0.224 0.225, short, crop 0.875, bilinear",
    ]


def test_a_model_without_head_says_what_to_do_with_it(tmp_path: Path) -> None:
    headless = {name: tensor for name, tensor in weights().items() if not name.startswith("heads.")}
    torch.save(headless, tmp_path / "vit.pth")
    assert open_weights(tmp_path / "vit.pth").class_names == ()
    with pytest.raises(CheckpointError, match="has no head") as told:
        get_ready(tmp_path / "vit.pth", join_world("cpu"))
    assert "vit finetune FROM --data DIR" in told.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("optim.lr=1", "says nothing about the weights"),
        ("model.heads.x=1", "says nothing about the weights"),
        ("model.heads=3", "model: Value error, width 128 does not divide into 3 heads"),
        ("model.hedas=3", r"model\.hedas: Extra inputs are not permitted"),
        ("model.res=33", r"model\.res: Value error, 33 is not a multiple of patch 8"),
        ("model.name=tnt", "the weights are torchvision's ViT, which is vit here"),
    ],
)
def test_a_change_that_makes_no_sense_is_a_wrong_argument(source: Path, change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_weights(source, changes=[change])


def test_a_resolution_that_fills_the_memory_is_refused_before_the_model_is_built(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model\.res: images of 8000000x8000000 pixels"):
        open_weights(source, changes=["model.res=8000000"])
    rope = {"embeddings.cls_token": (1, 1, 8), "norm.weight": (8,), "norm.bias": (8,)}
    rope |= {"embeddings.patch_embeddings.weight": (8, 3, 4, 4), "embeddings.patch_embeddings.bias": (8,)}
    rope |= {f"layer.0.{name}.weight": (8,) for name in ("norm1", "norm2")}
    rope |= {f"layer.0.layer_scale{n}.lambda1": (8,) for n in (1, 2)}
    rope |= {f"layer.0.attention.{name}_proj.weight": (8, 8) for name in "qkvo"}
    rope |= {f"layer.0.mlp.{name}_proj.weight": (8, 8) for name in ("up", "down")}
    save_file({name: torch.zeros(shape) for name, shape in rope.items()}, tmp_path / "model.safetensors")
    for side in (10**7, 8 * 10**12):
        (tmp_path / "config.json").write_text(json.dumps({"image_size": side}))
        with pytest.raises(CheckpointError, match=f"too large a size.*images of {side}x{side} pixels"):
            open_weights(tmp_path)


def test_a_crop_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    model = TimmViT(img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"crop_pct": 1e-6}}))
    with pytest.raises(CheckpointError, match="too small a crop"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("told", "task"),
    [
        (None, "classification"),
        ("single_label_classification", "classification"),
        ("multi_label_classification", "multilabel"),
    ],
)
def test_the_task_comes_along_with_the_config(tmp_path: Path, told: str | None, task: str) -> None:
    model = TimmViT(img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"problem_type": told}))
    assert open_weights(tmp_path).about["task"] == task


def test_a_regression_of_others_has_no_scale_and_is_refused(tmp_path: Path) -> None:
    model = TimmViT(img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"problem_type": "regression"}))
    with pytest.raises(CheckpointError, match="problem_type is 'regression'"):
        open_weights(tmp_path)


def test_a_change_that_does_not_fit_the_shapes_names_the_tensors(source: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"mlp\.0\.weight: 160x128 in the source, blocks\.0\.mlp\.fc1\.weight is 96x128"
    ):
        open_weights(source, changes=["model.mlp=96"])


def test_unknown_families_are_named(source: Path) -> None:
    with pytest.raises(UsageError, match="there is no naming 'gogle'") as told:
        open_weights(source, family="gogle")
    assert "google" in told.value.hint


def test_names_of_no_family_are_shown(tmp_path: Path) -> None:
    torch.save({"some.thing": torch.ones(1), "other": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"no known family has these names: some\.thing, other"):
        open_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("strange", ["encoder.pos_embedding", "conv_proj.weight", "heads.head.weight"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (1, 17, 128, 1), (7, 7)])
def test_shapes_that_no_model_has_are_refused(tmp_path: Path, strange: str, shape: tuple[int, ...]) -> None:
    torch.save(weights() | {strange: torch.zeros(shape)}, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match=r"weights|shapes"):
        open_weights(tmp_path / "vit.pth")


def test_a_block_in_the_middle_that_is_missing_is_named(tmp_path: Path) -> None:
    some = {name: tensor for name, tensor in weights().items() if "encoder_layer_0" not in name}
    torch.save(some, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match="lack encoder"):
        open_weights(tmp_path / "vit.pth")


NONSENSE = [None, 0, -1, "x", [], [1], {}, {"x": 1}, 1e300, True]
KEYS = ["mean", "std", "crop_pct", "interpolation", "input_size", "num_classes", "crop_mode", "label_names"]
HF_KEYS = ["num_attention_heads", "image_size", "patch_size", "hidden_act", "layer_norm_eps", "id2label", "model_type"]


@pytest.mark.parametrize("value", NONSENSE, ids=str)
@pytest.mark.parametrize("key", [*KEYS, *HF_KEYS, "model_args", "pretrained_cfg", "global_pool"])
def test_a_config_of_any_content_is_read_or_refused(tmp_path: Path, key: str, value: Any) -> None:
    torch.manual_seed(0)
    model = TimmViT(img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=1, num_classes=2)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = (
        {"architecture": "vit_tiny_patch16_224", key: value} if key not in KEYS else {"pretrained_cfg": {key: value}}
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({key: value}))
    with suppress(VitError):
        opened = open_weights(tmp_path)
        assert opened.about["res"] == [16, 16]  # by the table of positions, whatever the config says


@pytest.mark.parametrize(
    ("config", "classes", "names"),
    [
        ({}, 3, ("0", "1", "2")),
        ({"id2label": {"0": "cat", "1": "dog"}}, 2, ("cat", "dog")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, 2, ("0", "1")),
        ({"id2label": {"0": "cat", "7": "dog"}}, 2, ("0", "1")),
        ({"id2label": {"0": "crane", "1": "crane"}}, 2, ("crane", "crane (2)")),
        ({"label_names": ["a", "b"]}, 2, ("a", "b")),
        ({"pretrained_cfg": {"label_names": ["a", "b"]}}, 2, ("a", "b")),
        ({"label_names": ["a", "b"]}, 3, ("0", "1", "2")),
        ({"label_names": 5, "pretrained_cfg": 7, "id2label": None}, 2, ("0", "1")),
        ({}, 0, ()),
    ],
)
def test_classes_have_the_names_of_the_source(config: dict[str, Any], classes: int, names: tuple[str, ...]) -> None:
    assert name_classes(config, classes) == names


def test_names_that_look_like_numbered_ones_stay_unique() -> None:
    assert make_unique(["a", "a (2)", "a"]) == ("a", "a (2)", "a (3)")


def test_a_thousand_classes_without_names_are_imagenets() -> None:
    names = name_classes({}, 1000)
    assert (names[0], names[1], names[207], names[999]) == ("tench", "goldfish", "golden retriever", "toilet tissue")
    assert len(set(names)) == 1000


WORDNET = tuple(f"n{10_000_000 + 7 * number}" for number in range(1000))


def test_folders_named_by_wordnet_are_imagenets_classes_in_order() -> None:
    pixels = Pixels("x", np.zeros((3, 2, 2), np.uint8), np.array([0, 207, 999]), WORDNET)
    named = name_wordnet(pixels, imagenet_names())
    assert [named.classes[label] for label in named.labels] == ["tench", "golden retriever", "toilet tissue"]


@pytest.mark.parametrize(
    "classes", [WORDNET[:-1], WORDNET[::-1], (*WORDNET[:-1], "other"), tuple(map(str, range(1000)))]
)
def test_other_folders_are_left_alone(classes: tuple[str, ...]) -> None:
    assert not are_same(imagenet_names(), classes)
    pixels = Pixels("x", np.zeros((1, 2, 2), np.uint8), np.array([0]), classes)
    assert name_wordnet(pixels, imagenet_names()) is pixels


def test_a_models_own_thousand_classes_are_not_imagenets() -> None:
    assert not are_same(tuple(map(str, range(1000))), WORDNET)


@pytest.mark.parametrize("names", [imagenet_names(), WORDNET], ids=["names", "WordNet"])
def test_folders_named_by_all_places_are_imagenets_classes(names: tuple[str, ...]) -> None:
    folders = sorted(PLACES)  # as a folder of ImageNet-V2 gives them: 0, 1, 10, 100, 101, ...
    labels = np.array([folders.index("2"), folders.index("10"), folders.index("999")])
    named = name_imagenets(Pixels("x", np.zeros((3, 2, 2), np.uint8), labels, folders), names)
    assert [named.classes[label] for label in named.labels] == [names[2], names[10], names[999]]


def test_marks_of_folders_named_by_places_go_to_their_classes() -> None:
    folders = sorted(PLACES)
    pixels = Pixels("x", np.zeros((2, 2, 2), np.uint8), np.array([folders.index("2"), folders.index("10")]), folders)
    named = name_imagenets(as_marks(pixels), imagenet_names())
    assert (named.labels.argmax(axis=1).tolist(), named.labels.sum()) == ([2, 10], 2)


def test_some_places_or_a_model_that_knows_them_by_number_are_left_alone() -> None:
    some = Pixels("digits", np.zeros((1, 2, 2), np.uint8), np.array([0]), PLACES[:10])
    assert name_imagenets(some, imagenet_names()) is some
    all_places = Pixels("x", np.zeros((1, 2, 2), np.uint8), np.array([0]), sorted(PLACES))
    assert name_imagenets(all_places, PLACES) is all_places
    assert name_imagenets(all_places, imagenet_names()[:-1]) is all_places

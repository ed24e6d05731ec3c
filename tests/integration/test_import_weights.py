"""Published weights are taken as they are by eval, predict and finetune."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.vision_transformer import VisionTransformer

from tests.integration.conftest import Run, is_refused
from vit_cli.checkpoint.model import open_model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small ViT of torchvision's for three classes, as a user has it: a state dict."""
    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=128, mlp_dim=160, num_classes=3
    )
    torch.nn.init.normal_(model.heads.head.weight, std=0.5)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    return tmp_path / "vit.pth"


def headless(source: Path) -> Path:
    weights = torch.load(source, weights_only=True)
    path = source.with_name("headless.pth")
    torch.save({name: tensor for name, tensor in weights.items() if not name.startswith("heads.")}, path)
    return path


def named(source: Path, photos: Path) -> Path:
    """The folder as imported, with the names of the photos' classes."""
    folder = source.with_name("vit_vit")
    config = json.loads((folder / "config.json").read_text())
    config["class_names"] = sorted(path.name for path in photos.iterdir())
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_predict_takes_the_file_itself(vit: Run, source: Path, photos: Path) -> None:
    image = next(photos.rglob("*.jpg"))
    shown = vit("predict", source, image, "--format", "jsonl")
    assert shown.code == 0, shown.err
    assert {one["class"] for one in json.loads(shown.out)["predictions"]} == {"0", "1", "2"}
    assert "the names are numbers" in shown.err


def test_import_writes_a_folder_that_answers_as_the_file_does(vit: Run, source: Path, photos: Path) -> None:
    done = vit("import", source, "--out", source.with_name("vit_vit"))
    assert done.code == 0, done.err
    image = next(photos.rglob("*.jpg"))
    answers = [vit("predict", place, image, "--format", "csv") for place in (source, source.with_name("vit_vit"))]
    assert answers[0].out == answers[1].out
    judged = vit("eval", named(source, photos), "--data", photos, "--json")
    assert judged.code == 0, judged.err


def test_classes_without_names_get_them_at_import(vit: Run, source: Path, photos: Path) -> None:
    assert is_refused(vit("eval", source, "--data", photos), 3, "no names for them", "--classes FILE")
    bare = vit("import", source, "--out", "bare")
    assert "vit eval" not in bare.err
    named = vit("import", source, "--classes", photos, "--out", "named")
    assert (named.code, "3: blue, green, red" in named.out, "vit eval" in named.err) == (0, True, True)
    assert vit("eval", "named", "--data", photos).code == 0
    assert "numbers" not in vit("predict", "named", photos / "red").err


def test_finetune_takes_the_file_and_its_images_as_they_were(
    vit: Run, source: Path, photos: Path, tmp_path: Path
) -> None:
    short = ("train={steps: 2, batch_size: 8, precision: fp32}", "--out", tmp_path / "tuned")
    done = vit("finetune", source, "--data", photos, "--res", 48, *short)
    assert done.code == 0, done.err
    assert "torchvision's ViT" in done.err + done.out
    assert "crop  0.875 -> 1.0 (the recipe's)" in done.err + done.out
    about = open_model(tmp_path / "tuned").about
    assert about["class_names"] == sorted(path.name for path in photos.iterdir())
    assert about["preprocess"]["mean"] == [0.485, 0.456, 0.406]
    assert about["preprocess"]["interpolation"] == "bilinear"
    assert about["preprocess"]["crop"] == 1.0  # what the recipe says itself goes first
    assert about["res"] == [48, 48]


def test_finetune_gives_a_model_without_head_one(vit: Run, source: Path, photos: Path, tmp_path: Path) -> None:
    short = ("train={steps: 1, batch_size: 8, precision: fp32}", "--out", tmp_path / "tuned")
    done = vit("finetune", headless(source), "--data", photos, *short)
    assert done.code == 0, done.err
    assert open_model(tmp_path / "tuned").weights["head.weight"].shape == (3, 128)


def test_finetune_asks_for_data(vit: Run, source: Path) -> None:
    assert is_refused(vit("finetune", source), 2, "does not say what data", "--data DIR")


def test_eval_of_a_model_without_head_says_what_to_do(vit: Run, source: Path, photos: Path) -> None:
    refused = vit("eval", headless(source), "--data", photos)
    assert is_refused(refused, 4, "has no head", "vit finetune FROM --data DIR")


@pytest.mark.parametrize("command", ["eval", "finetune", "import"])
def test_bad_weights_end_with_4_and_name_what_is_wrong(vit: Run, photos: Path, tmp_path: Path, command: str) -> None:
    np.savez(tmp_path / "objects.npz", **{"embedding/kernel": np.array([{}], dtype=object)})
    np.savez(tmp_path / "nan.npz", **{"embedding/kernel": np.array([np.nan])})
    data = () if command == "import" else ("--data", photos)
    assert is_refused(vit(command, tmp_path / "objects.npz", *data), 4, "embedding/kernel", "Python's objects")
    assert is_refused(vit(command, tmp_path / "nan.npz", *data), 4, "embedding/kernel", "not finite")


def test_half_a_file_is_refused(vit: Run, source: Path, tmp_path: Path) -> None:
    content = source.read_bytes()
    half = tmp_path / "half.pth"
    half.write_bytes(content[: len(content) // 2])
    assert is_refused(vit("import", half), 4, "half.pth")


OWN_DATA = """\
finetune: {{head: auto}}
data:
  train: {{name: folder, root: {root}}}
  workers: 0
optim: {{name: adamw, lr: 1e-3}}
train: {{steps: 1, batch_size: 8, precision: fp32}}
"""


def test_a_recipe_with_data_of_its_own_keeps_the_weights_images(
    vit: Run, source: Path, photos: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(OWN_DATA.format(root=photos))
    done = vit("finetune", source, "--recipe", recipe, "--out", tmp_path / "tuned")
    assert done.code == 0, done.err
    preprocess = open_model(tmp_path / "tuned").about["preprocess"]
    assert preprocess["mean"] == [0.485, 0.456, 0.406]
    assert (preprocess["crop"], preprocess["interpolation"]) == (0.875, "bilinear")
    changed = vit("finetune", source, "data.mean=[0.5,0.5,0.5]", "--recipe", recipe, "--out", tmp_path / "changed")
    assert changed.code == 0, changed.err
    assert open_model(tmp_path / "changed").about["preprocess"]["mean"] == [0.5, 0.5, 0.5]


def test_the_head_is_kept_for_the_same_classes(vit: Run, source: Path, photos: Path, tmp_path: Path) -> None:
    assert vit("import", source, "--out", source.with_name("vit_vit")).code == 0
    short = ("train={steps: 1, batch_size: 8, precision: fp32}", "--out", tmp_path / "tuned")
    done = vit("finetune", named(source, photos), "--data", photos, *short)
    assert done.code == 0, done.err
    assert "head  kept (3 classes)" in done.err + done.out

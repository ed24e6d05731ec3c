"""`vit import` and `vit export`: from timm and transformers, through our commands, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from timm.models._hub import save_for_hf

from scripts.parity import HF_MLP, SMALL, stir
from tests.integration.conftest import Run, is_refused


def write_timm(folder: Path, classes: int = 3, **settings: Any) -> Path:
    """A folder of timm's that knows the colours of the photos."""
    torch.manual_seed(0)
    arguments = SMALL | {"img_size": 32, "num_classes": classes} | settings
    model = stir(timm.create_model("vit_base_patch16_224", **arguments))
    names = {"label_names": ["blue", "green", "red"]} if classes else {}
    save_for_hf(model, str(folder), model_config=names, model_args=arguments, safe_serialization=True)
    return folder


def test_import_says_what_became_of_the_weights_and_eval_takes_them(vit: Run, tmp_path: Path, photos: Path) -> None:
    told = vit("import", write_timm(tmp_path / "timm"), "--out", "ours")
    assert told.code == 0
    for words in ("timm's ViT", "32x32 pixels", "0.62 M parameters", "(config.json)", "loaded", "model folder"):
        assert words in told.out
    assert "vit finetune" in told.err
    done = vit("eval", "ours", "--data", photos, "--json")
    straight = vit("eval", tmp_path / "timm", "--data", photos, "--json")
    assert (done.code, json.loads(done.out)["images"], json.loads(done.out)["classes"]) == (0, 36, 3)
    assert json.loads(done.out)["loss"] == json.loads(straight.out)["loss"]


def test_import_in_json_has_the_whole_report(vit: Run, tmp_path: Path) -> None:
    told = vit("import", write_timm(tmp_path / "timm"), "model.res=48", "--match", "--json")
    facts = json.loads(told.out)
    assert (facts["family"], facts["res"], facts["classes"]) == ("timm", [48, 48], 3)
    assert facts["preprocess_from"] == "config.json"
    assert "positions  4x4 -> 6x6 (bicubic + antialias)" in facts["changes"]
    assert (tmp_path / "timm_vit/model.safetensors").is_file()
    assert facts["out"] == str(tmp_path / "timm_vit")


def test_a_config_beside_a_file_of_another_name_is_neither_read_nor_told_of(vit: Run, tmp_path: Path) -> None:
    folder = write_timm(tmp_path / "timm")
    (folder / "other.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    facts = json.loads(vit("import", folder / "other.safetensors", "--json").out)
    assert facts["preprocess_from"] == "the family's default"


def test_a_run_goes_out_to_timm_and_comes_back(vit: Run, recipe: Path, photos: Path) -> None:
    assert vit("train", recipe, "--out", "run", "-q").code == 0
    told = vit("export", "run", "--format", "timm", "--json")
    folder = Path(json.loads(told.out)["out"])
    assert (told.code, folder) == (0, Path("run/export/timm").absolute())
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == ["blue", "green", "red"]
    ours, theirs = (vit("eval", path, "--data", photos, "--json") for path in ("run", folder))
    assert json.loads(theirs.out)["loss"] == pytest.approx(json.loads(ours.out)["loss"], abs=1e-5)


def test_what_the_target_lacks_is_refused_with_the_reason(vit: Run, recipe: Path) -> None:
    assert vit("train", recipe, "--out", "run", "-q").code == 0
    assert is_refused(vit("export", "run", "--format", "hf"), 2, "no class token")
    Path("full").mkdir()
    Path("full/mine").touch()
    assert is_refused(vit("export", "run", "--format", "timm", "--out", "full"), 2, "not empty", "--overwrite")
    assert is_refused(vit("export", "run", "--format", "timm", "--out", "run", "--overwrite"), 2, "folder of a run")
    assert vit("export", "run", "--format", "onnx-not-yet").code == 2


def test_transformers_folders_come_in_and_go_out_again(vit: Run, tmp_path: Path) -> None:
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.DeiTConfig(image_size=32, num_labels=3, **HF_MLP)
    stir(transformers.DeiTForImageClassificationWithTeacher(config)).save_pretrained(tmp_path / "theirs")
    assert vit("import", "theirs", "--out", "ours").code == 0
    assert vit("export", "ours", "--format", "hf", "--out", "again").code == 0
    first, second = (
        transformers.AutoModelForImageClassification.from_pretrained(tmp_path / name).eval()
        for name in ("theirs", "again")
    )
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(first(images).logits, second(images).logits)


def test_weights_without_a_head_are_a_start_for_finetuning(vit: Run, tmp_path: Path, photos: Path) -> None:
    told = vit("import", write_timm(tmp_path / "timm", classes=0), "--out", "ours")
    assert (told.code, "none: the weights have no head" in told.out) == (0, True)
    assert is_refused(vit("eval", "ours", "--data", photos), 4, "no head")
    assert is_refused(vit("predict", "ours", photos / "red/000.jpg"), 4, "no head")
    done = vit("finetune", "ours", "--data", photos, "train.epochs=1", "train.batch_size=8", "--out", "run", "-q")
    assert done.code == 0, done.err


def test_bad_sources_are_refused_by_name(vit: Run, tmp_path: Path) -> None:
    folder = write_timm(tmp_path / "timm")
    assert is_refused(vit("import", folder, "--as", "google"), 4, "timm's ViT", "--as timm")
    assert is_refused(vit("import", folder, "--as", "nobody"), 2, "nobody", "timm")
    assert is_refused(vit("import", folder, "model.heads=3"), 2, "heads")
    assert is_refused(vit("import", folder, "optim.lr=1"), 2, "optim.lr")
    assert is_refused(vit("import", "nowhere.npz"), 4, "nowhere.npz")
    (tmp_path / "text.pth").write_text("no weights")
    assert is_refused(vit("import", "text.pth"), 4, "text.pth")
    save_file({"blocks.0.x": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert is_refused(vit("import", "other.safetensors"), 4, "blocks.0.x")
    assert vit("import", folder, "--out", "ours").code == 0
    assert is_refused(vit("import", "ours"), 2, "already")
    assert is_refused(vit("import", folder, "--out", "ours"), 2, "not empty")
    assert vit("import", folder, "--out", "ours", "--overwrite", "-q").out == ""

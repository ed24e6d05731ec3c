"""Where exports go, what they hold, and that plain safetensors are the model itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.export.test_timm import VIT, answer, write
from vit_cli.checkpoint.model import open_model
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.export.write import default_folder, export_model


def test_safetensors_are_our_own_model_without_recipe_and_data(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT)
    config = source / "config.json"
    content = json.loads(config.read_text()) | {"data": {"train": {"path": "/home/me"}}, "recipe": {"seed": 0}}
    config.write_text(json.dumps(content))
    folder = export_model(source, "safetensors", tmp_path / "plain").folder
    before, after = open_model(source), open_model(folder)
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in before.weights.items())
    assert after.about["model"] == before.about["model"]
    assert "/home/me" not in (folder / "config.json").read_text()
    assert load_file(folder / "model.safetensors").keys() == before.weights.keys()


def test_a_folder_that_is_not_empty_is_left_alone_unless_asked(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        export_model(source, "timm", out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    export_model(source, "timm", out, overwrite=True)
    assert {path.name for path in out.iterdir()} == {"mine.txt", "model.safetensors", "config.json"}
    with pytest.raises(UsageError, match="is a file"):
        export_model(source, "timm", out / "mine.txt", overwrite=True)


def test_an_export_of_a_run_goes_into_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run / "model", VIT)
    (run / "resolved.yaml").touch()
    assert default_folder(run / "model", "timm") == default_folder(run, "timm") == run / "export/timm"
    assert default_folder(run / "checkpoints/best.pt", "hf") == run / "export/hf"
    assert default_folder(tmp_path / "weights.npz", "hf") == Path("weights_hf")


def test_weights_that_do_not_fit_their_own_model_are_named_before_anything_is_written(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT)
    config = source / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"model": content["model"] | {"mlp": 64}}))
    with pytest.raises(CheckpointError, match=r"blocks\.0\.mlp"):
        export_model(source, "timm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_regression_is_refused_for_its_answers_are_scaled(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT)
    config = source / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"task": "regression"}))
    with pytest.raises(UsageError, match="regression"):
        export_model(source, "hf", tmp_path / "out")


@torch.inference_mode()
def test_the_change_that_a_refusal_names_is_all_it_takes(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT | {"norm_eps": 1e-12})
    with pytest.raises(UsageError, match="norm_eps is 1e-12") as told:
        export_model(source, "timm", tmp_path / "theirs")
    change = told.value.hint.split()[-1]
    done = export_model(source, "timm", tmp_path / "theirs", changes=[change])
    assert done.changes == ("norm_eps 1e-12 -> 1e-06",)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(answer(tmp_path / "theirs", images), answer(source, images), rtol=0, atol=1e-3)


def test_no_change_is_named_where_none_is_enough(tmp_path: Path) -> None:
    source = write(tmp_path / "ours", VIT | {"norm_eps": 1e-12, "positions": "rope"})
    with pytest.raises(UsageError, match="rope; norm_eps is 1e-12") as told:
        export_model(source, "timm", tmp_path / "theirs")
    assert "norm_eps" not in told.value.hint
    assert told.value.hint.startswith("--format onnx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.width=64", "blocks"),
        ("model.name=deit", "model.name"),
        ("model.nothing=1", "model.nothing"),
        ("model.heads=7", "heads"),
        ("optim.lr=1", "optim.lr"),
    ],
)
def test_a_change_that_the_weights_do_not_allow_is_refused(tmp_path: Path, change: str, words: str) -> None:
    source = write(tmp_path / "ours", VIT)
    with pytest.raises(UsageError, match=words):
        export_model(source, "timm", tmp_path / "theirs", changes=[change])
    assert not (tmp_path / "theirs").exists()

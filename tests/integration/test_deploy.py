"""`vit export` for runtimes, and the files alone: in onnxruntime, by `vit predict` and `vit eval`, by the page's own code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import Run, is_refused
from tests.unit.export.test_timm import write

PAGE = Path(__file__).parents[2] / "docs/export.md"
VIT = {"name": "vit", "width": 32, "depth": 1, "heads": 2, "patch": 8, "res": [32, 40], "pool": "gap"}


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A model folder with random weights that names the colours of the photos."""
    config = write(tmp_path / "ours", VIT, mean=(0.4, 0.5, 0.6), crop=0.8) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"class_names": ["blue", "green", "red"]}))
    return config.parent


def read_predictions(text: str) -> list[tuple[str, float]]:
    lines = (json.loads(line)["predictions"][0] for line in text.splitlines())
    return [(line["class"], pytest.approx(line["probability"], abs=1e-5)) for line in lines]


@pytest.mark.slow
def test_a_whole_onnx_file_is_enough_for_predict_eval_and_the_code_of_the_page(
    vit: Run, ours: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = vit(
        "export", ours, "--format", "onnx", "--data", photos, "--with-preprocess", "--out", "model.onnx", "--json"
    )
    facts = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert facts["out"] == str(tmp_path / "model.onnx")
    assert (facts["files"], facts["opset"], facts["bytes"]) == (["model.onnx"], 20, Path("model.onnx").stat().st_size)
    assert (facts["parity"]["images"], facts["parity"]["agreement"]) == (36, 100.0)
    assert 0 < facts["parity"]["difference"] < 1e-5
    assert facts["parity"]["runtime"].startswith("onnxruntime")
    first, second = (vit("predict", model, photos, "--format", "jsonl") for model in (ours, "model.onnx"))
    assert (second.code, len(second.out.splitlines())) == (0, 36)
    assert read_predictions(first.out) == read_predictions(second.out)
    first, second = (vit("eval", model, "--data", photos, "--json") for model in (ours, "model.onnx"))
    assert json.loads(second.out)["loss"] == pytest.approx(json.loads(first.out)["loss"], abs=1e-5)
    assert json.loads(second.out)["top1"] == json.loads(first.out)["top1"]
    assert is_refused(vit("export", ours, "--format", "onnx", "--out", "model.onnx"), 2, "already there", "--overwrite")
    assert is_refused(vit("predict", "model.onnx", photos, "--res", "64"), 2, "32x40 pixels")
    assert is_refused(vit("eval", "model.onnx"), 2, "--data DIR")
    assert is_refused(vit("finetune", "model.onnx", "--data", photos), 4, "exported file")
    # The page's code sees the images of Pillow, a level or so off ours.
    (tmp_path / "photo.jpg").write_bytes((photos / "red/003.jpg").read_bytes())
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)[0]
    place: dict[str, object] = {}
    exec(code, place)
    told = json.loads(vit("predict", "model.onnx", "photo.jpg", "--format", "jsonl", "--top", "0").out)["predictions"]
    by_page = dict(zip(place["names"], place["probabilities"][0].tolist(), strict=True))
    assert by_page == {line["class"]: pytest.approx(line["probability"], abs=5e-3) for line in told}


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_written(vit: Run, ours: Path, photos: Path, tmp_path: Path) -> None:
    done = vit("export", ours, "--format", "onnx", "--data", photos, "--tolerance", "0", "--out", "out/model.onnx")
    assert is_refused(
        done, 4, "model.onnx would not answer as the model does", "allowed are 0", "100.00 % of 36 images"
    )
    assert done.out == ""
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_8_bits_tell_their_cost_and_the_code_of_the_page_runs_a_plain_file(
    vit: Run, ours: Path, photos: Path, tmp_path: Path
) -> None:
    done = vit("export", ours, "--format", "onnx", "--data", photos, "--int8", "--max-drop", "100")
    assert done.code == 0, done.err
    assert re.search(r"int8     6 matrix products, .* MB; top-1 \d+\.\d\d % -> \d+\.\d\d % on 36 images", done.out)
    (tmp_path / "photo.jpg").write_bytes((photos / "red/003.jpg").read_bytes())
    (tmp_path / "model.onnx").write_bytes((tmp_path / "ours.int8.onnx").read_bytes())
    whole, plain = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)[:2]
    place: dict[str, object] = {}
    exec(whole.partition("(probabilities,)")[0] + plain, place)
    told = json.loads(vit("predict", "model.onnx", "photo.jpg", "--format", "jsonl", "--top", "0").out)["predictions"]
    by_page = torch.tensor(place["logits"][0]).softmax(0).tolist()
    assert dict(zip(place["names"], by_page, strict=True)) == {
        line["class"]: pytest.approx(line["probability"], abs=2e-2) for line in told
    }


def test_a_program_of_torch_is_compared_and_never_loaded_by_predict(
    vit: Run, ours: Path, photos: Path, tmp_path: Path
) -> None:
    done = vit("export", ours, "--format", "pt2", "--data", photos)
    assert (done.code, "same answers on 100.00 %" in done.out) == (0, True), done.err
    assert "load it:" in done.err
    assert is_refused(vit("predict", "ours.pt2", photos), 4, "ours.pt2", "run what it holds", ".onnx file")


def test_flags_of_runtimes_are_not_for_weights(vit: Run, ours: Path) -> None:
    assert is_refused(vit("export", ours, "--format", "timm", "--int8"), 2, "--int8", "not timm")
    assert is_refused(vit("export", ours, "--format", "timm", "--tolerance", "1e-9"), 2, "--tolerance", "not timm")
    assert is_refused(vit("export", ours, "--format", "pt2", "--int8"), 2, "onnxruntime does the quantising")
    assert is_refused(vit("export", ours, "--format", "onnx", "--out", "model.pt2"), 2, "ends in .onnx")
    assert vit("export", ours, "--format", "tflite").code == 2

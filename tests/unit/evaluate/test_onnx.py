"""ONNX files as models: what runs, what is refused, against files made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from vit_cli.augment.preprocess import Preprocess
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.evaluate.judge import Asked, check_asked
from vit_cli.evaluate.onnx import open_onnx
from vit_cli.evaluate.predict import predict_images
from vit_cli.evaluate.runnable import get_runnable, open_runnable
from vit_cli.evaluate.saved import get_ready

WORLD = World(0, 1, torch.device("cpu"))
WEIGHTS = np.array([[1, 0], [0, 2], [-1, 1]], dtype=np.float32)
ABOUT = {
    "format": "vit export",
    "format_version": 1,
    "model": {"name": "vit"},
    "res": [4, 6],
    "class_names": ["ant", "bee"],
    "preprocess": Preprocess(resize="squash").model_dump(mode="json"),
}


def write_file(path: Path, about: dict[str, Any] | None = None, takes: int = TensorProto.FLOAT) -> Path:
    """A file that gives the mean colour times WEIGHTS, with metadata."""
    ports = [
        helper.make_tensor_value_info("images", takes, ["batch", 3, 4, 6]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes"),
        numpy_helper.from_array(WEIGHTS, "weights"),
    ]
    graph = helper.make_graph(nodes, "by hand", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    for key, value in (about or {}).items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, path)
    return path


def test_a_file_answers_as_its_graph_says(tmp_path: Path) -> None:
    model, saved = open_onnx(write_file(tmp_path / "model.onnx", ABOUT), WORLD.device)
    images = torch.rand(3, 3, 4, 6)
    np.testing.assert_allclose(model(images), images.mean((2, 3)).numpy() @ WEIGHTS, rtol=1e-5)
    assert saved.class_names == ("ant", "bee")
    assert model.runtime.startswith("onnxruntime ")
    assert model.runtime.endswith(", CPU")


def test_a_file_that_takes_bytes_gets_them_as_they_are(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    plain = get_runnable(write_file(tmp_path / "plain.onnx", ABOUT), WORLD)
    whole = get_runnable(write_file(tmp_path / "whole.onnx", ABOUT, takes=TensorProto.UINT8), WORLD)
    means = images.float().mean((2, 3)).numpy()
    np.testing.assert_allclose(whole.model(whole.prepare(images)), means @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(plain.model(plain.prepare(images)), (means / 127.5 - 1) @ WEIGHTS, rtol=1e-4, atol=1e-5)


def test_other_resolutions_are_refused_before_any_is_judged(tmp_path: Path) -> None:
    about = ABOUT | {"model": {"name": "vit", "patch": 2, "res": [4, 6]}}  # its patches would divide 4 and 8
    runnable = open_runnable(write_file(tmp_path / "model.onnx", about), WORLD)
    with pytest.raises(UsageError, match=r"--res 8: .* takes images of 4x6 pixels and no others"):
        check_asked(Asked(resolutions=(8, 4)), runnable)
    check_asked(Asked(), runnable)


def test_predictions_are_named_by_the_metadata(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "red.png")
    ready = get_runnable(write_file(tmp_path / "model.onnx", ABOUT), WORLD)
    (prediction,) = predict_images(ready, [tmp_path / "red.png"], 1, [])
    scores = np.array([1, -1, -1]) @ WEIGHTS
    assert prediction.classes == [("ant", pytest.approx(np.exp(scores[0]) / np.exp(scores).sum()))]


def test_what_is_damaged_or_not_ours_is_named(tmp_path: Path) -> None:
    file = write_file(tmp_path / "model.onnx", ABOUT)
    whole = file.read_bytes()
    for name, content, words in (
        ("cut.onnx", whole[: len(whole) // 2], "can't be run as an ONNX file"),
        ("text.onnx", b"no model", "can't be run as an ONNX file"),
        ("empty.onnx", b"", "can't be run as an ONNX file"),
        ("other.onnx", write_file(tmp_path / "other", None).read_bytes(), "not of vit"),
        ("later.onnx", write_file(tmp_path / "later", ABOUT | {"format_version": 2}).read_bytes(), "format version 1"),
        ("lacks.onnx", write_file(tmp_path / "lacks", ABOUT | {"res": "four"}).read_bytes(), "strange res"),
        ("size.onnx", write_file(tmp_path / "size", ABOUT | {"res": [4, 4]}).read_bytes(), "does not fit its own"),
        ("names.onnx", write_file(tmp_path / "names", ABOUT | {"class_names": ["ant"]}).read_bytes(), "does not fit"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=words) as told:
            get_runnable(tmp_path / name, WORLD)
        assert name in told.value.problem
    with pytest.raises(CheckpointError, match="no file"):
        get_runnable(tmp_path / "none.onnx", WORLD)


def test_notes_of_other_tools_are_passed_over(tmp_path: Path) -> None:
    model = onnx.load(write_file(tmp_path / "model.onnx", ABOUT))
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    onnx.save(model, tmp_path / "model.onnx")
    assert "onnx.infer" not in get_runnable(tmp_path / "model.onnx", WORLD).saved.about


def test_a_file_has_one_resolution_and_nothing_inside_to_look_at(tmp_path: Path) -> None:
    file = write_file(tmp_path / "model.onnx", ABOUT)
    assert get_runnable(file, WORLD, (4, 6)).res == (4, 6)
    with pytest.raises(UsageError, match="4x6 pixels"):
        get_runnable(file, WORLD, 8)
    with pytest.raises(UsageError, match="nothing from inside"):
        get_runnable(file, WORLD).model.features(torch.zeros(1, 3, 4, 6))
    with pytest.raises(CheckpointError, match="is an exported file: vit predicts and evaluates with it, and no more"):
        get_ready(file, WORLD)


def test_a_missing_runtime_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_file(tmp_path / "model.onnx", ABOUT)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="onnxruntime") as told:
        get_runnable(file, WORLD)
    assert told.value.hint == 'pip install "vit-cli[onnx]"'

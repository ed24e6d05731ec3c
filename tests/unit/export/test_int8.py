"""Quantisation: what it does to a product, and when it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.unit.evaluate.test_onnx import ABOUT, write_file
from vit_cli.errors import GateError, UsageError
from vit_cli.export.int8 import Quantised, quantise

FIGURES = {"products": 4, "bytes_before": 4_000_000, "bytes_after": 1_100_000, "images": 500}


def test_products_with_weights_are_in_8_bits_and_nearly_the_same(tmp_path: Path) -> None:
    source, target = write_file(tmp_path / "model.onnx", ABOUT), tmp_path / "int8.onnx"
    assert quantise(source, target, is_parted=False) == 1
    images = np.random.default_rng(0).random((5, 3, 4, 6), dtype=np.float32)
    before, after = (onnxruntime.InferenceSession(path).run(None, {"images": images})[0] for path in (source, target))
    assert 0 < np.abs(before - after).max() < 0.03
    kept = [{entry.key: entry.value for entry in onnx.load(path).metadata_props} for path in (source, target)]
    assert kept[0] == kept[1]
    assert {weight.data_type for weight in onnx.load(target).graph.initializer} >= {onnx.TensorProto.INT8}


def test_a_model_without_such_products_is_told(tmp_path: Path) -> None:
    model = onnx.load(write_file(tmp_path / "model.onnx", ABOUT))
    del model.graph.node[2], model.graph.initializer[1]
    model.graph.node[1].output[0] = "logits"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="in convolutions"):
        quantise(tmp_path / "model.onnx", tmp_path / "int8.onnx", is_parted=False)


def test_a_loss_above_what_is_allowed_is_refused_with_the_figures() -> None:
    lossy = Quantised(**FIGURES, score="top1", before=80.0, after=78.5)
    lossy.check(most=1.5)
    with pytest.raises(
        GateError, match=r"1\.50 points of top-1.*80\.00 % -> 78\.50 % on 500 images, 4\.00 -> 1\.10 MB"
    ):
        lossy.check(most=1.0)
    with pytest.raises(GateError):
        Quantised(**FIGURES, score="r2", before=0.8, after=float("nan")).check(most=1.0)
    assert Quantised(**FIGURES, score="r2", before=0.80, after=0.79).drop == pytest.approx(1.0)

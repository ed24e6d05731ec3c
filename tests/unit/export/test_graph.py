"""Every kind of model as a graph: onnxruntime and torch.export give its logits for any number of images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.export.test_timm import write
from vit_cli.dist.world import World
from vit_cli.evaluate.runnable import get_runnable
from vit_cli.evaluate.saved import Ready, get_ready
from vit_cli.export.graph import METADATA, Whole, describe, hushed, write_onnx, write_program

WORLD = World(0, 1, torch.device("cpu"))
VIT = {"name": "vit", "width": 32, "depth": 1, "heads": 2, "patch": 8, "res": 16}
TNT = {"name": "tnt", "inner_width": 8, "inner_heads": 2, "width": 32, "heads": 1, "depth": 1, "res": 32}
HYBRID = {
    "name": "hybrid",
    "backbone": {"blocks": [1, 1], "width": 32},
    "width": 32,
    "depth": 1,
    "heads": 1,
    "patch": 1,
    "res": [16, 32],
}
CCT = {"name": "cct", "width": 32, "depth": 1, "heads": 2, "res": 16}
FAST: dict[str, dict[str, Any]] = {
    "registers beside a class token, not square": VIT | {"registers": 2, "res": [16, 24]},
}
KINDS: dict[str, dict[str, Any]] = {
    "hybrid": HYBRID,
    "mean": VIT | {"pool": "gap", "positions": "sincos2d"},
    "mean beside a class token": VIT | {"pool": "cls_gap", "positions_at": "layers", "positions": "learned2d"},
    "MAP": VIT | {"pool": "map", "positions": "none", "head": "mlp"},
    "relative": VIT | {"positions": "relative", "registers": 1},
    "rope": VIT | {"positions": "rope", "qk_norm": True, "ffn": "swiglu", "layer_scale": 1e-1, "res": [16, 24]},
    "axial": VIT | {"attention": "axial", "depth": 2},
    "windows": VIT | {"attention": "window", "window": 2, "res": 24},
    "distilled": VIT | {"name": "deit"},
    "TNT": TNT,
    "hybrid as in timm": HYBRID | {"convention": "timm"},
    "CCT": CCT,
    "CCT with a class token": CCT | {"pool": "cls"},
    "ResNet": {"name": "resnet", "size": 18, "res": 32, "small_stem": True},
    "ConvNeXt": {"name": "convnext", "size": "tiny", "res": [32, 64]},
}
ALL = [
    *(pytest.param(plain, id=name, marks=pytest.mark.slow) for name, plain in FAST.items()),
    *(pytest.param(plain, id=name, marks=pytest.mark.long) for name, plain in KINDS.items()),
]


def make_ready(folder: Path, plain: dict[str, Any], **about: Any) -> Ready:
    """A model with random weights and three classes, of which `about` tells more."""
    config = write(folder, plain, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | about))
    return get_ready(folder, WORLD)


@pytest.mark.parametrize("plain", ALL)
@torch.inference_mode()
def test_both_runtimes_give_our_logits_for_one_image_and_for_three(plain: dict[str, Any], tmp_path: Path) -> None:
    ready = make_ready(tmp_path / "ours", plain)
    images = torch.randn(3, 3, *ready.res)
    ours = ready.model(images)
    assert ours.std() > 0.05
    assert not write_onnx(ready, tmp_path / "model.onnx", is_whole=False)
    theirs = get_runnable(tmp_path / "model.onnx", WORLD).model
    torch.testing.assert_close(theirs(images), ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(theirs(images[:1]), ours[:1], rtol=0, atol=1e-5)
    write_program(ready, tmp_path / "model.pt2", is_whole=False)
    program = torch.export.load(tmp_path / "model.pt2").module()
    torch.testing.assert_close(program(images), ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(program(images[:1]), ours[:1], rtol=0, atol=1e-5)


def test_a_file_of_another_runtime_tells_all_and_nothing_of_this_machine(tmp_path: Path) -> None:
    ready = make_ready(tmp_path / "ours", VIT | {"pool": "gap"}, data={"train": {"name": "folder", "root": "/home/me"}})
    write_program(ready, tmp_path / "model.pt2", is_whole=True)
    content = (tmp_path / "model.pt2").read_bytes()
    told = {METADATA: ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=told)
    about = json.loads(told[METADATA])
    assert (about["class_names"], about["res"], about["task"]) == (["ant", "bee", "cow"], [16, 16], "classification")
    assert about["preprocess"]["mean"] == [0.4, 0.5, 0.6]
    assert about["inputs"] == {"images": "(batch, 3, 16, 16) uint8 RGB, 0 to 255"}
    assert list(about["outputs"]) == ["logits", "probabilities"]
    for place in (b"/home/me", str(Path(__file__).parents[3]).encode(), str(tmp_path).encode()):
        assert place not in content


@torch.inference_mode()
def test_a_whole_model_normalises_and_answers_by_its_task(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    scale = {"mean": [1.0, 20.0, 300.0], "std": [0.5, 10.0, 100.0]}
    by_hand = (images / 255 - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[
        :, None, None
    ]
    for task, more, answer in (
        ("classification", {}, lambda logits: logits.exp() / logits.exp().sum(1, keepdim=True)),
        ("multilabel", {}, lambda logits: 1 / (1 + (-logits).exp())),
        (
            "regression",
            {"scale": scale},
            lambda logits: logits * torch.tensor(scale["std"]) + torch.tensor(scale["mean"]),
        ),
    ):
        ready = make_ready(tmp_path / task, VIT, task=task, **more)
        logits, said = Whole(ready)(images)
        torch.testing.assert_close(logits, ready.model(by_hand), rtol=0, atol=1e-5)
        torch.testing.assert_close(said, answer(logits), rtol=1e-5, atol=1e-5)
        assert describe(ready, is_whole=True)["task"] == task
        assert list(describe(ready, is_whole=True)["outputs"])[1] == ("values" if more else "probabilities")


@pytest.mark.slow
def test_an_onnx_file_has_its_metadata_and_no_line_of_our_source_and_large_weights_lie_beside_it(
    tmp_path: Path,
) -> None:
    import onnx

    ready = make_ready(tmp_path / "ours", VIT | {"pool": "gap"})
    assert write_onnx(ready, tmp_path / "model.onnx", is_whole=True, largest=0)
    weights = sum(weight.nbytes for weight in ready.model.state_dict().values())
    assert (tmp_path / "model.onnx.data").stat().st_size == pytest.approx(weights, rel=0.2)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    onnx.checker.check_model(tmp_path / "model.onnx")
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert (about["class_names"], about["format"], about["format_version"]) == (["ant", "bee", "cow"], "vit export", 1)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [20]
    assert model.producer_name == "vit"
    batch = {model.graph.input[0].type.tensor_type.shape.dim[0].dim_param}
    batch |= {output.type.tensor_type.shape.dim[0].dim_param for output in model.graph.output}
    assert batch == {"batch"}
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"vit_cli" not in content
    assert b"forward" not in content
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    theirs = get_runnable(tmp_path / "model.onnx", WORLD)
    with torch.inference_mode():
        ours = ready.model(ready.prepare(images))
        torch.testing.assert_close(theirs.model(theirs.prepare(images)), ours, rtol=0, atol=1e-5)
    assert math.isfinite(ours.sum())


def test_exporters_are_kept_from_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    import logging
    import warnings

    with hushed():
        print("Obtain model graph ... ✅")
        warnings.warn("not our affair", stacklevel=1)
        logging.getLogger("onnxscript").error("not our affair")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("onnxscript").isEnabledFor(logging.ERROR)

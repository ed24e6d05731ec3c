"""A model as one graph for other runtimes: an ONNX file of torch's dynamo exporter, or a program of torch.export."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vit_cli import __version__
from vit_cli.augment.preprocess import scale_and_shift
from vit_cli.checkpoint.commit import told
from vit_cli.errors import UsageError
from vit_cli.evaluate.onnx import FORMAT, FORMAT_VERSION, IMAGES, LOGITS
from vit_cli.evaluate.saved import Ready
from vit_cli.export.safetensors import KEPT
from vit_cli.section import TaskName

OPSET = 20
"""The first with an operator for GELU; onnxruntime knows it since 1.17."""
LARGEST = 2_000_000_000
"""Bytes of weights that one file may hold: protobuf, which ONNX is written in, ends at 2 GiB."""
METADATA = "vit.json"
"""The name of what is told in a program of torch.export."""
ANSWERS: dict[TaskName, tuple[str, str]] = {
    "classification": ("probabilities", "the softmax of logits"),
    "multilabel": ("probabilities", "the sigmoid of each logit"),
    "regression": ("values", "logits * scale.std + scale.mean, in the units of the targets"),
}
"""What a file that prepares images also gives, by task: its name, and what it is made of."""


class Whole(nn.Module):
    """A model with what comes before and after it: uint8 RGB images of its resolution in; logits and answers out."""

    scale: Tensor
    shift: Tensor
    units: Tensor

    def __init__(self, ready: Ready) -> None:
        super().__init__()
        self.model, self.task = ready.model, ready.task.name
        # Made before the graph is traced: what is made inside would not be numbers yet, and would be kept for later.
        scale, shift = scale_and_shift(ready.preprocess.mean, ready.preprocess.std, torch.device("cpu"))
        self.register_buffer("scale", scale.clone())
        self.register_buffer("shift", shift.clone())
        units = ready.saved.about.get("scale") or {"std": [1.0], "mean": [0.0]}
        self.register_buffer("units", torch.tensor([units["std"], units["mean"]]))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 3, rows, columns) uint8 -> logits (b, classes), and what they say (b, classes)."""
        logits: Tensor = self.model(images.to(torch.float32) * self.scale + self.shift)
        if self.task == "regression":
            return logits, logits * self.units[0] + self.units[1]
        return logits, logits.sigmoid() if self.task == "multilabel" else logits.softmax(-1)


def name_outputs(ready: Ready, is_whole: bool) -> list[str]:
    """Name what a file gives."""
    return [LOGITS, ANSWERS[ready.task.name][0]] if is_whole else [LOGITS]


def describe(ready: Ready, is_whole: bool) -> dict[str, Any]:
    """Tell all that it takes to use a file: what a checkpoint tells but recipe and data, and what goes in and comes out."""
    about = {key: ready.saved.about[key] for key in KEPT if key in ready.saved.about}
    kind, (name, made_of) = ready.task.name, ANSWERS[ready.task.name]
    taken = "uint8 RGB, 0 to 255" if is_whole else "float32 RGB, (byte / 255 - mean) / std"
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **about,
        "task": kind,
        "vit_version": __version__,
        "inputs": {IMAGES: f"(batch, 3, {ready.res.rows}, {ready.res.columns}) {taken}"},
        "outputs": {
            LOGITS: f"(batch, {len(ready.class_names)}) float32" + ("" if is_whole else f"; {name} are {made_of}"),
            **({name: made_of} if is_whole else {}),
        },
    }


def write_onnx(ready: Ready, file: Path, is_whole: bool, largest: int = LARGEST) -> bool:
    """Write a model as an ONNX file with its metadata; tell whether its weights went into `file`.data, beside it.

    The batch is of any size. `is_whole` puts normalisation and answers into the graph. Raises UsageError if the exporter
    can't express the model.
    """
    model, images = make_traceable(ready, is_whole)
    with hushed():
        try:
            program = torch.onnx.export(
                model,
                (images,),
                input_names=[IMAGES],
                output_names=name_outputs(ready, is_whole),
                dynamic_shapes=({0: "batch"},),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except Exception as error:
            raise inexpressible("ONNX", error) from error
        is_parted = sum(weight.nbytes for weight in model.state_dict().values()) > largest
        finish_onnx(program.model, describe(ready, is_whole))
        with told(file):
            program.save(file, external_data=is_parted)
    return is_parted


def finish_onnx(model: Any, about: Mapping[str, Any]) -> None:
    """Put metadata into onnx_ir's `model`, and take out what its exporter notes: lines and paths of our source."""
    model.producer_name, model.producer_version = "vit", __version__
    model.graph.name = "vit"
    for function in (model.graph, *model.functions.values()):
        function.metadata_props.clear()
        for value in (*function.inputs, *function.outputs):
            value.metadata_props.clear()
        for node in function:
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.metadata_props.update({key: json.dumps(value, ensure_ascii=False) for key, value in about.items()})


def write_program(ready: Ready, file: Path, is_whole: bool) -> None:
    """Write a model as a program of torch.export, with its metadata in the extra file `vit.json`; else as `write_onnx`."""
    model, images = make_traceable(ready, is_whole)
    text = json.dumps(describe(ready, is_whole), ensure_ascii=False)
    with hushed():
        try:
            program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as error:
            raise inexpressible("torch.export", error) from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # lines and paths of our source
        with told(file):
            torch.export.save(program, file, extra_files={METADATA: text})


def make_traceable(ready: Ready, is_whole: bool) -> tuple[nn.Module, Tensor]:
    """Give what is traced, and images to trace it with: two of them, since of one an exporter would keep the number."""
    model = (Whole(ready) if is_whole else ready.model).eval().requires_grad_(False)
    return model, torch.zeros(2, 3, *ready.res, dtype=torch.uint8 if is_whole else torch.float32)


def inexpressible(target: str, error: Exception) -> UsageError:
    """Make the error for a model that an exporter fails on, with the first line of its reason."""
    reason = str(error).strip().partition("\n")[0][:200]
    return UsageError(f"{target} of torch {torch.__version__} can't express this model: {reason}")


@contextmanager
def hushed() -> Iterator[None]:
    """Keep exporters, which print, log and warn of their own affairs, from the console."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""Exported ONNX files as models: run by onnxruntime, with all that is needed to use them from the file's own metadata."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vit_cli.checkpoint.model import MAX_CONFIG, Saved, check_about
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.models.classifier import Classifier

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ENDING = ".onnx"
FORMAT, FORMAT_VERSION = "vit export", 1
IMAGES, LOGITS = "images", "logits"
NO_FEATURES = "is an exported file, which gives answers and nothing from inside the model"
EXTRA = 'pip install "vit-cli[onnx]"'


class OnnxModel(Classifier):
    """A session of onnxruntime as a model: images in, logits out, in float32; there is nothing to train or to look into.

    With `takes_bytes` the file normalises by itself and takes uint8.
    """

    def __init__(self, path: Path, session: InferenceSession) -> None:
        super().__init__()
        self.path, self.session = path, session
        self.layers, self.head_names, self.tokens = 0, (), 0
        self.takes_bytes = session.get_inputs()[0].type == "tensor(uint8)"
        # Where the rest of the program is to bring images: it asks a model's first parameter.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def runtime(self) -> str:
        """Say what runs the file: "onnxruntime 1.23.0, CPU"."""
        import onnxruntime

        provider = self.session.get_providers()[0].removesuffix("ExecutionProvider")
        return f"onnxruntime {onnxruntime.__version__}, {provider}"

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 3, rows, columns) -> logits (b, classes), where the images are. Raises CheckpointError."""
        feed = {IMAGES: images.cpu().contiguous().numpy()}
        try:
            logits = self.session.run([LOGITS], feed)[0]
        except Exception as error:
            raise damaged(self.path, error) from error
        return torch.from_numpy(logits).to(images.device)

    def features(self, images: Tensor) -> Tensor:  # noqa: ARG002
        raise UsageError(f"{self.path} {NO_FEATURES}", "Name the checkpoint that it was exported from.")

    def flops(self) -> int:
        raise UsageError(f"{self.path} {NO_FEATURES}", "Name the checkpoint that it was exported from.")

    def stem_flops(self) -> int:
        return self.flops()


def open_onnx(path: Path, device: torch.device) -> tuple[OnnxModel, Saved]:
    """Open a file of `vit export --format onnx`: what runs it, and what its metadata tell, without weights.

    It runs on the GPU if `device` is one and this onnxruntime can, with as many threads as torch has. No code comes from the
    file: onnxruntime knows its own operators only. Raises CheckpointError for a file that is missing, damaged or not of
    vit, UsageError if onnxruntime is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    session = start_session(path, device)
    about = read_metadata(path, session.get_modelmeta().custom_metadata_map)
    check_ports(path, session, about)
    return OnnxModel(path, session).to(device), Saved(path, {}, about)


def start_session(path: Path, device: torch.device) -> InferenceSession:
    """Load a file into onnxruntime. Raises CheckpointError, UsageError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path.name} runs in onnxruntime, which is not installed", EXTRA) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised besides
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    there = onnxruntime.get_available_providers()
    providers = [name for name in (*wanted, "CPUExecutionProvider") if name in there]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        raise damaged(path, error) from error


def read_metadata(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Read what vit wrote beside the graph, each value as JSON. Raises CheckpointError."""
    if metadata.get("format") != json.dumps(FORMAT):
        raise CheckpointError(
            f"{path} is an ONNX file, but not of vit: it tells no classes and no preprocessing",
            "vit runs what it wrote itself: vit export MODEL --format onnx",
        )
    if sum(map(len, metadata.values())) > MAX_CONFIG:
        raise CheckpointError(f"the metadata of {path} are longer than {MAX_CONFIG:,} characters")
    about: dict[str, Any] = {}  # other tools may add notes of their own, in any form
    for key, value in metadata.items():
        with suppress(ValueError, RecursionError):
            about[key] = json.loads(value)
    if about.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} is not of format version {FORMAT_VERSION}, which this vit reads")
    check_about(about, path)
    return about


def check_ports(path: Path, session: InferenceSession, about: dict[str, Any]) -> None:
    """Raise CheckpointError unless a file takes and gives what its metadata say."""
    takes = {port.name: port.shape[1:] for port in session.get_inputs()}
    gives = {port.name: port.shape[1:] for port in session.get_outputs()}
    classes = len(about["class_names"])
    if takes != {IMAGES: [3, *about["res"]]} or gives.get(LOGITS) != [classes]:
        raise CheckpointError(
            f"{path} does not fit its own metadata: it should turn {IMAGES} of {about['res']} into {classes} {LOGITS}",
            "It was changed by hand or is damaged.",
        )


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Make the error for a file that onnxruntime can't load or run, with the first line of its reason."""
    reason = "".join(c if c.isprintable() else " " for c in str(error).strip().partition("\n")[0])
    return CheckpointError(f"{path} can't be run as an ONNX file: {reason[:200]}", "It is damaged, or no ONNX file.")

"""Weights of matrix products in 8 bits, if the answers stay as good."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from vit_cli.data.samples import Samples, subset
from vit_cli.dist.world import World
from vit_cli.errors import GateError, UsageError
from vit_cli.evaluate.images import open_folder_data, open_own_data
from vit_cli.evaluate.runnable import get_runnable
from vit_cli.evaluate.saved import Ready, evaluate_saved
from vit_cli.export.graph import hushed
from vit_cli.export.parity import spread
from vit_cli.metrics.names import SCORES

MOST = 2_000
"""Labelled images to score on: enough to tell a loss of a point."""

LEAST_SHARE = 0.1
"""With a smaller share of the weights in 8 bits there is nothing to gain."""
NOTE = "onnx.infer"
"""What onnxruntime's quantiser adds to the metadata, and which is no JSON as the rest is."""


@dataclass(frozen=True)
class Quantised:
    """What 8 bits save and cost: bytes, and the task's main score (of 100 for shares), of the float32 file and of the new one."""

    products: int
    bytes_before: int
    bytes_after: int
    score: str
    before: float
    after: float
    images: int

    @property
    def drop(self) -> float:
        """Points of the score that are lost: per cent, or hundredths."""
        return (self.before - self.after) * (1 if SCORES[self.score].in_percent else 100)

    def check(self, most: float) -> None:
        """Raise GateError, with the figures, if more than so many points are lost."""
        if not self.drop <= most:
            kind = SCORES[self.score]
            raise GateError(
                f"int8 loses {self.drop:.2f} points of {kind.label}, so nothing was written: "
                f"{kind.write(self.before)} -> {kind.write(self.after)} on {self.images} images, "
                f"{self.bytes_before / 1e6:.2f} -> {self.bytes_after / 1e6:.2f} MB; allowed are {most:g}",
                "Leave --int8 out, or allow more: --max-drop POINTS",
            )


def quantise(source: Path, target: Path, is_parted: bool) -> int:
    """Write an ONNX file whose matrix products with weights are in 8 bits, a scale for each output; count these products.

    What comes in is quantised on the way, by its own range (dynamic). Weights have 7 bits: the sums of products of 8
    overflow on CPUs without VNNI (onnxruntime's `reduce_range`). Raises UsageError if hardly any weight is in such a product.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with hushed():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=is_parted,
        )
    model = onnx.load(target, load_external_data=False)
    products = sum(node.op_type == "MatMulInteger" for node in model.graph.node)
    sizes = [(weights.data_type, math.prod(weights.dims)) for weights in model.graph.initializer]
    if sum(size for kind, size in sizes if kind == onnx.TensorProto.INT8) < LEAST_SHARE * sum(
        size for _, size in sizes
    ):
        raise UsageError(
            "--int8: this model's weights are in convolutions (nearly) alone, which stay in float32",
            "Leave --int8 out.",
        )
    kept = [entry for entry in model.metadata_props if entry.key != NOTE]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, target)
    return products


def open_labelled(ready: Ready, data: Path | None) -> Samples:
    """Open images with labels to score on, spread over all there are. Raises UsageError if none are named, DataError."""
    if data is None and ready.data is None:
        raise UsageError(
            "--int8 compares scores on labelled images, and the model tells none of its own", "Name them: --data DIR"
        )
    samples = open_own_data(ready.saved) if data is None else open_folder_data(data, None, ready.saved)
    return subset(samples, spread(len(samples), MOST))


def score(ready: Ready, target: Path, samples: Samples, world: World) -> tuple[float, float]:
    """Give the main score of the model in float32, and that of the quantised file."""
    main = ready.task.main
    both = replace(ready, precision="fp32"), get_runnable(target, world)
    before, after = (evaluate_saved(one, samples, world).scores[main] for one in both)
    return before, after

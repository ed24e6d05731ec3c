"""`vit export`: a model in the form of another tool."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import show_json, show_note, show_result
from vit_cli.errors import UsageError
from vit_cli.metrics.names import SCORES

if TYPE_CHECKING:
    from vit_cli.export.deploy import Deployed


TOLERANCE, MAX_DROP = 1e-4, 1.0


class Target(str, Enum):
    """The forms that a model can be written in."""

    ONNX = "onnx"
    PT2 = "pt2"
    TIMM = "timm"
    HF = "hf"
    SAFETENSORS = "safetensors"


PROGRAMS = "Of onnx and pt2"

Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[model.KEY=VALUE]...",
        help="Settings that leave the weights as they are, where the other tool has none but its own.",
        show_default=False,
    ),
]
Format = Annotated[
    Target,
    typer.Option(
        "--format",
        help="onnx (for onnxruntime and others), pt2 (torch.export), timm, hf (Hugging Face's transformers), "
        "or safetensors (our own names).",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The file (onnx, pt2) or folder to write; in the run's export/ if left out.",
        metavar="<path>",
        parser=flags.read_out,
        rich_help_panel=flags.OUTPUT,
    ),
]
Compared = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Images to compare on (with --int8: labelled ones, to score on); the model's own validation images if left out.",
        show_default=False,
        rich_help_panel=PROGRAMS,
    ),
]
WithPreprocess = Annotated[
    bool,
    typer.Option(
        "--with-preprocess",
        help="Take uint8 RGB images of the model's size, normalise inside, and give probabilities too.",
        rich_help_panel=PROGRAMS,
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        min=0,
        help="The largest difference of logits that is allowed, as a share of the largest logit.",
        rich_help_panel=PROGRAMS,
    ),
]
Int8 = Annotated[
    bool,
    typer.Option("--int8", help="Keep the weights of matrix products in 8 bits (onnx).", rich_help_panel=PROGRAMS),
]
MaxDrop = Annotated[
    float,
    typer.Option(
        "--max-drop",
        help="Points of the main score, top-1 of most models, that --int8 may cost.",
        rich_help_panel=PROGRAMS,
    ),
]


def export(
    model: flags.Model,
    target: Format,
    changes: Changes = None,
    out: Out = None,
    overwrite: flags.Overwrite = False,
    data: Compared = None,
    with_preprocess: WithPreprocess = False,
    tolerance: Tolerance = TOLERANCE,
    int8: Int8 = False,
    max_drop: MaxDrop = MAX_DROP,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Write a model as onnxruntime, torch, timm or transformers load it, with class names and preprocessing."""
    if target is Target.ONNX or target is Target.PT2:
        from vit_cli.export.deploy import Wishes, deploy_model

        wishes = Wishes(out, overwrite, tuple(changes or ()), data, with_preprocess, int8, tolerance, max_drop)
        deployed = deploy_model(model, target.value, wishes)
        if json:
            show_json(summarise(deployed, target))
        elif not quiet:
            show_deployed(deployed)
        return
    if data or with_preprocess or int8 or (tolerance, max_drop) != (TOLERANCE, MAX_DROP):
        raise UsageError(
            f"--data, --with-preprocess, --tolerance, --int8 and --max-drop are for --format onnx and pt2, not {target.value}"
        )
    from vit_cli.export.write import export_model

    done = export_model(model, target.value, out, overwrite, changes or [])
    if json:
        show_json(
            {
                "out": str(done.folder),
                "format": target.value,
                "files": done.files,
                "load": done.loading,
                "changes": done.changes,
            }
        )
    elif not quiet:
        show_result(f"{done.folder}: {', '.join(done.files)}; {done.classes} classes")
        for change in done.changes:
            show_result(f"changed  {change}")
        show_note(f"load it:  {done.loading}")


def summarise(done: Deployed, target: Target) -> dict[str, object]:
    """Give the facts for `--json`."""
    parity, int8 = done.parity, done.quantised
    return {
        "out": str(done.files[0]),
        "format": target.value,
        "files": [path.name for path in done.files],
        "bytes": done.size,
        "opset": done.opset,
        "inputs": done.inputs,
        "outputs": done.outputs,
        "parity": {
            "images": parity.images,
            "of": parity.title,
            "difference": parity.difference,
            "allowed": None if int8 else done.allowed,
            "largest_logit": parity.largest,
            "agreement": parity.agreement,
            "runtime": parity.runtime,
        },
        "int8": int8 and {**vars(int8), "drop": int8.drop},
        "load": done.loading,
        "changes": done.changes,
    }


def show_deployed(done: Deployed) -> None:
    """Tell people what was written, and how it compares."""
    parity, int8 = done.parity, done.quantised
    more = f" and {', '.join(path.name for path in done.files[1:])}" if done.files[1:] else ""
    opset = f", opset {done.opset}" if done.opset else ""
    show_result(f"{done.files[0]}{more}: {done.size / 1e6:.2f} MB{opset}")
    for change in done.changes:
        show_result(f"changed  {change}")
    for name, what in (*done.inputs.items(), *done.outputs.items()):
        show_result(f"{'takes' if name in done.inputs else 'gives'}    {name}  {what}")
    allowed = "" if int8 else f" (allowed {done.allowed:.1e})"
    same = "" if parity.agreement is None else f", same answers on {parity.agreement:.2f} %"
    show_result(f"parity   largest difference of logits {parity.difference:.1e}{allowed}{same}")
    show_result(f"         on {parity.images} images: {parity.title}; in {parity.runtime}")
    if int8:
        kind = SCORES[int8.score]
        show_result(
            f"int8     {int8.products} matrix products, {int8.bytes_before / 1e6:.2f} -> {int8.bytes_after / 1e6:.2f} MB; "
            f"{kind.label} {kind.write(int8.before)} -> {kind.write(int8.after)} on {int8.images} images"
        )
    show_note(f"load it:  {done.loading}")

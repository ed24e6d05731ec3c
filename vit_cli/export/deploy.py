"""Export a model for other runtimes: written aside, compared with the model, and only then given its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor

from vit_cli.checkpoint.commit import sync, told
from vit_cli.data.samples import Samples
from vit_cli.dist.world import World
from vit_cli.errors import UsageError
from vit_cli.evaluate.onnx import EXTRA, OnnxModel
from vit_cli.evaluate.runnable import get_runnable
from vit_cli.evaluate.saved import Ready, make_ready, open_saved
from vit_cli.export.graph import OPSET, describe, hushed, write_onnx, write_program
from vit_cli.export.int8 import Quantised, open_labelled, quantise, score
from vit_cli.export.parity import TOLERANCE, Parity, Pictures, choose_pictures, compare
from vit_cli.export.write import change_model, check_writable, compare_models, find_exports

Runtime = Literal["onnx", "pt2"]
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MAX_DROP = 1.0
"""Points of top-1 that 8 bits may cost."""


@dataclass(frozen=True)
class Wishes:
    """How to export: where to (`out`), images to compare on (`data`), what goes into the file, and what is allowed.

    `tolerance` is a share of the largest logit, `max_drop` is points of the main score that `int8` may cost.
    """

    out: Path | None = None
    overwrite: bool = False
    changes: tuple[str, ...] = ()
    data: Path | None = None
    with_preprocess: bool = False
    int8: bool = False
    tolerance: float = TOLERANCE
    max_drop: float = MAX_DROP


@dataclass(frozen=True)
class Deployed:
    """What was written: the files, the first of which is the model, what they take and give, and how they compare."""

    files: tuple[Path, ...]
    size: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    opset: int | None
    parity: Parity
    allowed: float
    quantised: Quantised | None
    loading: str
    changes: tuple[str, ...]


def deploy_model(path: Path, target: Runtime, wishes: Wishes) -> Deployed:
    """Write the model at `path` (ours, or foreign weights) as one file for a runtime, if that answers as the model does.

    Raises UsageError for what does not go together, a package that is missing or a file that is there; CheckpointError for a
    model that can't be read, or a file that answers otherwise; GateError if 8 bits cost too much.
    """
    check_wishes(target, wishes)
    file = choose_file(path, target, wishes)
    world = World(0, 1, torch.device("cpu"))
    before = open_saved(path)
    saved = change_model(before, wishes.changes) if wishes.changes else before
    ready = make_ready(saved, world)
    ready.model.seen = None  # the whole last block: weights that it slices would be no constants, which 8 bits need
    samples = open_labelled(ready, wishes.data) if wishes.int8 else None
    pictures = choose_pictures(ready, wishes.data)
    with aside(file) as folder:
        if target == "onnx":
            parity, quantised = make_onnx(ready, folder / file.name, wishes, pictures, samples)
        else:
            parity, quantised = make_program(ready, folder / file.name, wishes, pictures), None
        names = sorted(made.name for made in folder.iterdir() if made.is_file())
        size = count_bytes(folder)
    about = describe(ready, wishes.with_preprocess)
    return Deployed(
        files=tuple(file.parent / name for name in names),
        size=size,
        inputs=about["inputs"],
        outputs=about["outputs"],
        opset=OPSET if target == "onnx" else None,
        parity=parity,
        allowed=parity.allowed(wishes.tolerance),
        quantised=quantised,
        loading=f'onnxruntime.InferenceSession("{file}")'
        if target == "onnx"
        else f'torch.export.load("{file}").module()',
        changes=compare_models(before, saved),
    )


def make_onnx(
    ready: Ready, file: Path, wishes: Wishes, pictures: Pictures, samples: Samples | None
) -> tuple[Parity, Quantised | None]:
    """Write and compare an ONNX file; with `samples` to score on, one in 8 bits in its place."""
    if samples is None:
        write_onnx(ready, file, wishes.with_preprocess)
        parity = run_onnx(ready, file, pictures)
        parity.check(file, wishes.tolerance)
        return parity, None
    (file.parent / "float").mkdir()
    full = file.parent / "float" / file.name
    is_parted = write_onnx(ready, full, wishes.with_preprocess)
    run_onnx(ready, full, pictures).check(file, wishes.tolerance)
    products = quantise(full, file, is_parted)
    before, after = score(ready, file, samples, World(0, 1, torch.device("cpu")))
    quantised = Quantised(
        products=products,
        bytes_before=count_bytes(full.parent),
        bytes_after=count_bytes(file.parent),
        score=ready.task.main,
        before=before,
        after=after,
        images=len(samples),
    )
    quantised.check(wishes.max_drop)
    return run_onnx(ready, file, pictures), quantised


def count_bytes(folder: Path) -> int:
    """Count the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def run_onnx(ready: Ready, file: Path, pictures: Pictures) -> Parity:
    """Compare a file with the model, in the way that `vit predict` runs it."""
    written = get_runnable(file, World(0, 1, torch.device("cpu")))
    runtime = written.model.runtime if isinstance(written.model, OnnxModel) else ""
    return compare(ready, lambda images: written.model(written.prepare(images)), pictures, runtime)


def make_program(ready: Ready, file: Path, wishes: Wishes, pictures: Pictures) -> Parity:
    """Write and compare a program of torch.export, as its own loader gives it back: it reads what we have just written."""
    write_program(ready, file, wishes.with_preprocess)
    with hushed():
        program = torch.export.load(file).module()

    def answer(images: Tensor) -> Tensor:
        return program(images)[0] if wishes.with_preprocess else program(ready.prepare(images))

    parity = compare(ready, answer, pictures, f"torch {torch.__version__}")
    parity.check(file, wishes.tolerance)
    return parity


def check_wishes(target: Runtime, wishes: Wishes) -> None:
    """Raise UsageError for what does not go together, and for packages that are missing."""
    if target == "pt2" and wishes.int8:
        raise UsageError("--int8 is for --format onnx: onnxruntime does the quantising")
    missing = [name for name in PACKAGES if target == "onnx" and find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format onnx needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            EXTRA,
        )


def choose_file(path: Path, target: Runtime, wishes: Wishes) -> Path:
    """Give the file to write: `out`, `export/model.<target>` in the run that `path` is of, or one beside where one works.

    Raises UsageError if it is there and not to be overwritten, or has another ending than the format.
    """
    ending = f".{target}"
    file = wishes.out or default_file(path, f"{'.int8' if wishes.int8 else ''}{ending}")
    if file.is_dir():
        raise UsageError(f"--out {file} is a folder", f"Name a file: --out {file / ('model' + ending)}")
    if file.suffix != ending:
        raise UsageError(
            f"--out {file}: a file of --format {target} ends in {ending}", f"--out {file.with_suffix(ending)}"
        )
    if file.exists() and not wishes.overwrite:
        raise UsageError(f"{file} is already there", "Name another file with --out, or add --overwrite.")
    check_writable(file)
    return file.absolute()


def default_file(path: Path, ending: str) -> Path:
    """Give a file in the run that `path` is of, else one where one works, named for it."""
    exports = find_exports(path)
    return exports / f"model{ending}" if exports else Path(f"{path.absolute().stem}{ending}")


@contextmanager
def aside(file: Path) -> Iterator[Path]:
    """Lend a folder beside `file`; the files in it move to its side when the block ends well, and nothing stays otherwise."""
    with told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lent = TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent)
    with lent as folder:
        yield Path(folder)
        made = [path for path in Path(folder).iterdir() if path.is_file()]
        with told(file):
            for path in sorted(made, key=lambda path: path.name == file.name):  # the model itself last
                sync(path)
                path.replace(file.parent / path.name)
            sync(file.parent)

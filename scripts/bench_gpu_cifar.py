"""CIFAR-10 from scratch by the shipped recipe, on the clock: when it reaches 91 %, and where it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from scripts.bench_arms import Fact
from scripts.bench_photos import add_noise, make_colours
from vit_cli.train.progress import Row, Silence

RECIPE, TARGET = "cifar10_vit", 91.0
USUAL = ("train.graph=on",)
"""Its batches of 128 small images keep a GPU waiting for the host; nothing else of the recipe is changed."""
SMOKE = (
    "model={name: vit, width: 32, depth: 1, heads: 2, patch: 8, res: 32}", "train.epochs=null", "train.steps=4",
    "train.batch_size=16", "train.precision=fp32", "schedule.warmup=1 steps", "eval.every=2 steps", "eval.batch_size=64",
)  # fmt: skip


class Marks(Silence):
    """Writes down every evaluation with the seconds since the run began, those of earlier calls counted in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = max((mark["seconds"] for mark in read_marks(path)), default=0.0)
        self.begin = time.monotonic()

    def row(self, row: Row) -> None:
        seconds = self.before + time.monotonic() - self.begin
        mark = {"seconds": seconds, "epoch": row.epoch, "epochs": row.epochs, "top1": row.scores["top1"]}
        with self.path.open("a") as file:
            file.write(json.dumps(mark) + "\n")


def read_marks(path: Path) -> list[dict[str, float]]:
    """Read the evaluations so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def train_cifar(cifar: Path, runs: Path, minutes: float, devices: str, is_small: bool) -> list[Fact]:
    """Begin a run in `runs`, or go on with the one there, for so long; give what it reached so far."""
    from vit_cli.errors import Stopped
    from vit_cli.recipe.load import load_recipe
    from vit_cli.train.course import Options
    from vit_cli.train.folder import RunFolder
    from vit_cli.train.resume import resume_run
    from vit_cli.train.start import start_run

    runs.mkdir(parents=True, exist_ok=True)
    marks, run = Marks(runs / "marks.jsonl"), runs / RECIPE
    options = Options(out=run, devices=devices, seconds=60 * minutes)
    try:
        if (run / "resolved.yaml").exists():
            resume_run(RunFolder(run), options, marks)
        else:
            changes = [*sources(cifar, runs, is_small), *(SMOKE if is_small else USUAL)]
            start_run(load_recipe(RECIPE, changes), options, marks)
    except Stopped as stopped:
        print(stopped.problem)
    return list(conclude(read_marks(marks.path)))


def conclude(marks: Sequence[dict[str, float]]) -> Iterator[Fact]:
    """Give the figures of the evaluations; those of the end stand for a run that is not over as well, and say so."""
    for mark in marks:
        if mark["top1"] >= TARGET:
            yield Fact(name="to_91", unit="s, evaluations included", ours=round(mark["seconds"], 1))
            yield Fact(name="to_91_epochs", unit="epochs", ours=mark["epoch"])
            break
    if marks:
        last = marks[-1]
        yield Fact(name="top1", unit=f"after {last['epoch']:g} of {last['epochs']:g} epochs", ours=last["top1"])
        yield Fact(name="best_top1", unit="of all evaluations", ours=max(mark["top1"] for mark in marks))
        yield Fact(name="seconds", unit="s", ours=round(last["seconds"], 1))


def sources(cifar: Path, scratch: Path, is_small: bool) -> Iterator[str]:
    """Write the pictures of a folder with train-*.parquet and test-*.parquet into class folders, and name those."""
    for split, key in (("train", "train"), ("test", "val")):
        place = scratch / "pictures" / split
        if not place.exists():
            write_made(place) if is_small else write_pictures(sorted(cifar.glob(f"{split}-*.parquet")), place)
        yield f"data.{key}={{name: folder, root: '{place}'}}"


def write_pictures(files: Sequence[Path], place: Path) -> None:
    """Write the pictures of parquet files as they are, a folder for each class: so the library `datasets` need not be there."""
    import pyarrow.parquet as pq

    if not files:
        raise SystemExit("no train-*.parquet and test-*.parquet: name CIFAR-10's folder with --cifar")
    number = 0
    for file in files:
        table = pq.read_table(file)
        images, labels = (
            next(name for name in names if name in table.column_names) for names in (("img", "image"), ("label",))
        )
        for image, label in zip(table[images].to_pylist(), table[labels].to_pylist(), strict=True):
            folder = place / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05d}.png").write_bytes(image["bytes"])
            number += 1


def write_made(place: Path) -> None:
    """Write a few made-up pictures of 32x32."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(64):
        folder = place / str(number % 4)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(add_noise(make_colours(random, (32, 32)), random, 6)).save(folder / f"{number}.png")

"""Runs of vit as processes of their own, with faults injected, and what must be true of them however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import vit  # noqa: F401 - a fixture: the command inside this process
from vit_cli.checkpoint.file import digest, read_checkpoint

ROOT = Path(__file__).parents[2]
LIMIT = 240.0
"""Seconds that any command may take, on a machine that does other things too."""
LINGER = 20.0
"""Seconds that loader workers may take to notice that their process was killed: torch looks every 5 s."""

RECIPE = """\
model: {{name: vit, width: 32, depth: 2, heads: 2, patch: 8, res: 32, pool: gap, drop_path: 0.1, dropout: 0.1}}
data:
  train: {{name: folder, root: {photos}/train}}
  val: {{name: folder, root: {photos}/val}}
  workers: 2
augment:
  - {{name: random_resized_crop, scale: [0.5, 1.0]}}
  - {{name: flip}}
mix: {{mixup: 0.4, cutmix: 1.0}}
optim: {{name: adamw, lr: 2e-3}}
train: {{steps: 24, batch_size: 8, precision: fp32, ema: {{decay: 0.9}}}}
eval: {{every: 8 steps}}
save: {{every: 6 steps}}
track: {{log_every: 1 steps}}
"""
"""The matrix's run: 96 images, so that an epoch is 12 steps; everything random is on."""
ORDERED = ("model.drop_path=0", "model.dropout=0", "optim={name: sgd, lr: 0.1, momentum: 0.9}")
"""Changes after which the same global batch gives the same losses on any number of processes."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


class Result(NamedTuple):
    """All of a run that must be equal to the bit: its newest checkpoint, its journal, its evaluations."""

    digest: str
    steps: list[tuple[int, float, float, float]]
    rows: list[list[str]]


def result_of(run: Path) -> Result:
    """Read a run's newest checkpoint and journals, without what depends on the clock."""
    steps = [(line["step"], line["loss"], line["lr"], line["grad_norm"]) for line in read_lines(run / "steps.jsonl")]
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    newest = max(run.glob("checkpoints/step-*.pt"))
    return Result(digest(read_checkpoint(newest)), steps, [[*row[:7], row[-1]] for row in rows])


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def saved_steps(run: Path) -> list[int]:
    """List the steps of the checkpoints that a run has committed."""
    return sorted(int(path.stem[5:]) for path in run.glob("checkpoints/step-*.pt"))


def stamps(run: Path) -> list[tuple[str, int, int]]:
    """Give what shows whether a checkpoint was written again: name, number of the file, time of the last change."""
    found = [(path, path.stat()) for path in sorted(run.glob("checkpoints/step-*.pt"))]
    return [(path.name, status.st_ino, status.st_mtime_ns) for path, status in found]


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as for a shell's job in the background, and for its children
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Shell:
    """Starts commands in one folder, waits for them with a limit, and ends what they leave behind."""

    def __init__(self, folder: Path, recipe: Path) -> None:
        self.folder = folder
        self.recipe = recipe
        self.mark = uuid4().hex
        self.started: dict[int, float] = {}
        self.faulty: set[int] = set()

    def start(self, *arguments: object, fault: str = "", module: str = "vit_cli", **environment: str) -> Any:
        """Start `python -m vit_cli` with these arguments, in a session of its own."""
        number = len(self.started)
        paths = {"PYTHONPATH": os.pathsep.join((str(ROOT / "tests/faults/inject"), str(ROOT)))}
        faults = {"VIT_FAULT": fault, "VIT_FAULT_LOG": str(self.folder / f"{number}.faults")}
        settings = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "VIT_TEST": self.mark}
        with (self.folder / f"{number}.out").open("w") as out, (self.folder / f"{number}.err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                cwd=self.folder,
                env=os.environ | paths | faults | settings | environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        if fault:
            self.faulty.add(number)
        self.started[process.pid] = time.monotonic()
        return process

    def wait(self, process: Any, limit: float = LIMIT, tracebacks: bool = False) -> Ended:
        """Wait for a command, and check what must be true of every end."""
        number = list(self.started).index(process.pid)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            shown = (self.folder / f"{number}.err").read_text()
            pytest.fail(f"{process.args} still runs after {limit:.0f} s\n{shown}")
        out, err = ((self.folder / f"{number}.{kind}").read_text() for kind in ("out", "err"))
        assert (number in self.faulty) == (self.folder / f"{number}.faults").exists(), "the fault never happened"
        is_cut = code == -signal.SIGKILL  # then its loader workers may have the last word
        assert tracebacks or is_cut or "Traceback" not in err, err
        if code == 0:
            left = [path for path in self.folder.glob("*/checkpoints/.*") if ".step-" in path.name]
            assert not left, f"{left} is left of a save that was broken off"
        return Ended(code, out, err, time.monotonic() - self.started[process.pid])

    def __call__(self, *arguments: object, **options: Any) -> Ended:
        """Run a command to its end; `limit` and `tracebacks` are those of `wait`."""
        waiting = {name: options.pop(name) for name in ("limit", "tracebacks") if name in options}
        return self.wait(self.start(*arguments, **options), **waiting)

    def train(self, *changes: object, processes: int = 1, **options: Any) -> Ended:
        """Train the recipe of the matrix in the folder `run`."""
        return self(*self.words(*changes, processes=processes), **options)

    def words(self, *changes: object, processes: int = 1) -> list[object]:
        """Give the arguments that train the recipe of the matrix; four processes load with a worker each, to spare the machine."""
        fewer = ["data.workers=1"] if processes > 2 else []
        return ["train", self.recipe, "--out", self.run, "-q", "--devices", processes, *fewer, *changes]

    def resume(self, *arguments: object, processes: int = 1, **options: Any) -> Ended:
        """Go on with the run in the folder `run`."""
        return self("resume", self.run, "-q", "--devices", processes, *arguments, **options)

    @property
    def run(self) -> Path:
        """The folder of the run that the test is about."""
        return self.folder / "run"

    def alive(self) -> dict[int, str]:
        """Find all processes that descend from the started ones, also those that left their session or lost their parent."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_ours = f"VIT_TEST={self.mark}".encode() in (place / "environ").read_bytes().split(b"\0")
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if is_ours and words:  # those that have ended and wait for their parent have none
                    found[int(place.name)] = words
        return found

    def wait_for(self, is_so: Callable[[], bool], process: Any) -> None:
        """Wait until something is so while a command runs."""
        end = time.monotonic() + LIMIT
        while not is_so():
            assert process.poll() is None, "the command ended too early"
            assert time.monotonic() < end
            time.sleep(0.01)

    def close(self) -> None:
        """Assert that nothing still runs; end what does."""
        end = time.monotonic() + LINGER
        while (alive := self.alive()) and time.monotonic() < end:
            time.sleep(0.1)
        for number in alive:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        assert not alive, f"still running at the end: {alive}"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 pictures to learn from and 20 to judge by, in four classes; every one is different."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, per_class in (("train", 24), ("val", 5)):
        for number, name in enumerate(("ash", "birch", "cedar", "date")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(per_class):
                colour = [40 + 50 * number, 9 * index, 200 - 40 * number]
                pixels = np.clip(random.normal(colour, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The recipe of the matrix."""
    path = tmp_path_factory.mktemp("recipe") / "matrix.yaml"
    path.write_text(RECIPE.format(photos=photos))
    return path


@pytest.fixture
def shell(tmp_path: Path, recipe: Path) -> Iterator[Shell]:
    """Start commands, and look after them when the test is over."""
    with opened(tmp_path, recipe) as shell:
        yield shell


@contextmanager
def opened(folder: Path, recipe: Path) -> Iterator[Shell]:
    """Lend a shell; nothing that it started outlives the block."""
    shell = Shell(folder, recipe)
    try:
        yield shell
    finally:
        shell.close()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Callable[..., Result]:
    """Give the end of the undisturbed run on so many processes; each is made once."""
    made: dict[tuple[object, ...], Result] = {}

    def make(processes: int = 1, *changes: str) -> Result:
        key = (processes, *changes)
        if key not in made:
            with opened(tmp_path_factory.mktemp(f"whole{processes}"), recipe) as shell:
                ended = shell.train(*changes, processes=processes)
            assert (ended.code, ended.err) == (0, ""), ended
            made[key] = result_of(shell.run)
            assert [step[0] for step in made[key].steps] == list(range(1, 25)), "no step is missing or doubled"
        return made[key]

    return make

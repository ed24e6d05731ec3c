"""Kill training runs at random moments until they end all the same, and compare each with the same run left in peace.

    python scripts/storm.py [--runs 50] [--processes 1 2 4] [--seed 0] [--out DIR]

A run trains a tiny model with dropout, drop path, mixing, averaging, clipping and loader workers. It is killed two or three
times: the launcher, one process or all of them, by SIGKILL, or asked to stop by SIGTERM (also twice), SIGINT or SIGUSR1;
at a random step, while it starts, or around its end. Each time it is resumed, sometimes with another number of workers.
In the end its digest, its journals and its best weights must be those of the undisturbed run, to the bit. What is hit,
and when, follows from --seed; where exactly a signal lands within a step is up to the machine.

The last line is "50 of 50 equal", and the exit code 0, or the true number and 1; the folder of a run that differs is kept.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

STEPS, IMAGES, BATCH = 120, 120, 8
LATE = 6
"""So many steps before its end a run may be over before it sees a signal."""
LIMIT = 180.0
"""Seconds that one start may take on a machine that does other things too."""
LINGER = 30.0
"""Seconds after which nothing of a run may be alive; orphaned loader workers look every 5 s."""

RECIPE = f"""\
model: {{name: vit, width: 32, depth: 2, heads: 2, patch: 8, res: 32, pool: gap, drop_path: 0.1, dropout: 0.1}}
data:
  train: {{name: synthetic, classes: 4, images: {IMAGES}, size: 40, jpeg: true}}
  workers: 2
  cache: none
augment:
  - {{name: random_resized_crop, scale: [0.5, 1.0]}}
  - {{name: flip}}
mix: {{mixup: 0.4, cutmix: 1.0}}
optim: {{name: adamw, lr: 2e-3}}
train: {{steps: {STEPS}, batch_size: {BATCH}, precision: fp32, clip_norm: 1.0, ema: {{decay: 0.9}}}}
eval: {{every: 25 steps}}
save: {{every: 7 steps}}
track: {{log_every: 1 steps}}
"""
VARIANTS: Mapping[str, Sequence[str]] = {
    "adamw": (),
    "lamb": ("optim={name: lamb, lr: 5e-3}",),
    "sgd": ("optim={name: sgd, lr: 0.05, momentum: 0.9}",),
    "parts": ("train.shard=full",),
}
"""Changes of the recipe; the last needs several processes."""


class Kind(NamedTuple):
    """What is sent, to whom, and the exit codes that a run in training ends with."""

    signals: tuple[signal.Signals, ...]
    target: str
    codes: tuple[int, ...]


KINDS: Mapping[str, Kind] = {
    "kill launcher": Kind((signal.SIGKILL,), "launcher", (-9,)),
    "kill one": Kind((signal.SIGKILL,), "one", (-9, 5)),
    "kill all": Kind((signal.SIGKILL,), "all", (-9,)),
    "term launcher": Kind((signal.SIGTERM,), "launcher", (143,)),
    "term one": Kind((signal.SIGTERM,), "one", (143,)),
    "term twice": Kind(
        (signal.SIGTERM, signal.SIGTERM), "launcher", (143, -15)
    ),  # the second may come when all is saved
    "int launcher": Kind((signal.SIGINT,), "launcher", (130,)),
    "usr1 launcher": Kind((signal.SIGUSR1,), "launcher", (143,)),
}


@dataclass(frozen=True)
class Blow:
    """One blow: when the journal has reached `step` (None: counted from the start), and `delay` seconds later."""

    kind: str
    step: int | None
    delay: float
    victim: float
    """Which process is hit, as a share of their number."""
    workers: int | None
    """The number of loader workers that the run goes on with; None: as many as before."""

    def __str__(self) -> str:
        return f"{self.kind} {'in its start' if self.step is None else f'at {self.step}'}"


@dataclass(frozen=True)
class Case:
    """A run of the storm, planned before it starts."""

    number: int
    processes: int
    variant: str
    blows: tuple[Blow, ...]


def plan_case(seed: int, number: int, processes: Sequence[int]) -> Case:
    """Draw a run; the same for the same seed and number."""
    draw = random.Random(f"{seed} {number}")
    count = processes[number % len(processes)]
    variant = draw.choice(["adamw", "adamw", "lamb", "sgd"] if count == 1 else ["adamw", "lamb", "sgd", "parts"])
    steps = sorted(draw.sample(range(1, STEPS), draw.choice([2, 2, 3])))
    if draw.random() < 0.1:
        steps[-1] = STEPS  # around the end: the last save, the report
    blows = []
    for step in steps:
        starting = draw.random() < 0.15
        delay = draw.uniform(0.0, 4.0) if starting else draw.uniform(0.0, 0.05)
        kind, victim, workers = draw.choice(list(KINDS)), draw.random(), draw.choice([None, None, 0, 1, 3])
        blows.append(Blow(kind, None if starting else step, delay, victim, workers))
    return Case(number, count, variant, tuple(blows))


@dataclass
class Scene:
    """The folder of a run, and the processes started for it, which all carry the same mark in their environment."""

    folder: Path
    faults: list[str] = field(default_factory=list)
    """What was wrong, in words; empty if nothing was."""
    starts: int = 0
    blows: int = 0

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    def start(self, case: Case, changes: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start the run, or go on with it if it has come far enough to be gone on with."""
        begun = (self.run / "resolved.yaml").is_file()
        what = (
            ["resume", self.run] if begun else ["train", self.folder / "storm.yaml", "--out", self.run, "--overwrite"]
        )
        words = [*what, *changes, *(() if begun else VARIANTS[case.variant]), "-q", "--devices", case.processes]
        self.starts += 1
        settings = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "VIT_STORM": str(self.folder)}
        source = {"PYTHONPATH": str(Path(__file__).parents[1])}
        with (self.folder / f"{self.starts}.err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "vit_cli", *map(str, words)],
                cwd=self.folder,
                env=os.environ | settings | source,
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )

    def alive(self, leaders: bool = False) -> list[int]:
        """Find the living processes of the run; `leaders`: without those that load images, which lead no session."""
        mark = f"VIT_STORM={self.folder}".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_ours = mark in (place / "environ").read_bytes().split(b"\0")
                if is_ours and (place / "cmdline").read_bytes():  # one that only waits for its parent has none
                    found.append(int(place.name))
        return sorted(number for number in found if not leaders or leads(number))

    def last_step(self) -> int:
        """Give the last step in the journal; -1 without one."""
        with suppress(OSError, ValueError, IndexError):
            return int(json.loads((self.run / "steps.jsonl").read_text().split("\n")[-2])["step"])
        return -1

    def journal_is(self) -> int:
        """Give what changes when the journal is cut back after a start; 0 without one."""
        journal = self.run / "steps.jsonl"
        return journal.stat().st_ino if journal.exists() else 0

    def newest(self) -> Path | None:
        """Give the newest checkpoint, if there is one."""
        return max(self.run.glob("checkpoints/step-*.pt"), default=None)

    def wait_until(self, is_so: Callable[[], bool], seconds: float = LIMIT) -> bool:
        """Wait until something is so; tell whether it came to be."""
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end:
                return False
            time.sleep(0.003)
        return True

    def end_all(self) -> None:
        """End what must not be alive any more."""
        for number in self.alive():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def leads(number: int) -> bool:
    """Tell whether a process leads a session of its own, as every process does that trains, and the launcher."""
    with suppress(ProcessLookupError):
        return os.getsid(number) == number
    return False


def strike(scene: Scene, launcher: subprocess.Popen[bytes], blow: Blow, was: int) -> bool:
    """Wait for the moment of a blow and strike; tell whether the run had not ended before. `was`: the journal before."""

    def is_time() -> bool:
        reached = blow.step is None or (scene.journal_is() != was and scene.last_step() >= blow.step)
        return reached or launcher.poll() is not None

    if not scene.wait_until(is_time):
        scene.faults.append(f"start {scene.starts} did not come to step {blow.step}")
    time.sleep(blow.delay)
    if launcher.poll() is not None:
        return False
    kind = KINDS[blow.kind]
    for number, sent in enumerate(kind.signals):
        if number:
            time.sleep(0.2 * blow.victim)
        for target in find_targets(scene, launcher.pid, kind.target, blow.victim):
            with suppress(ProcessLookupError):
                os.kill(target, sent)
    scene.blows += 1
    return True


def find_targets(scene: Scene, launcher: int, target: str, victim: float) -> list[int]:
    """Give the processes that a blow hits."""
    if target == "all":
        return scene.alive()
    processes = [number for number in scene.alive(leaders=True) if number != launcher]
    if target == "launcher" or not processes:
        return [launcher]
    return [processes[int(victim * len(processes))]]


def disturb(scene: Scene, case: Case) -> list[str]:
    """Let a run meet its blows, and go on until it ends; give what hit it, in words."""
    met: list[str] = []
    workers: int | None = None
    for blow in case.blows:
        was = scene.journal_is()
        launcher = scene.start(case, change_of(workers))
        hit = strike(scene, launcher, blow, was)
        reached = scene.last_step()
        code = wait(scene, launcher)
        if not hit and code == 0:
            return met
        check_code(scene, blow, code, early_or_late=blow.step is None or reached >= STEPS - LATE)
        met.append(str(blow) if blow.step is None else f"{blow.kind} at {reached}")
        workers = blow.workers
    code = wait(scene, scene.start(case, change_of(workers)))
    if code != 0:
        scene.faults.append(f"the last start ended with exit code {code}")
    return met


def change_of(workers: int | None) -> list[str]:
    """Write a number of loader workers as a change of the recipe."""
    return [] if workers is None else [f"data.workers={workers}"]


def wait(scene: Scene, launcher: subprocess.Popen[bytes]) -> int:
    """Wait until a start has ended, with every process that trains; give its exit code."""
    try:
        code = launcher.wait(LIMIT)
    except subprocess.TimeoutExpired:
        scene.faults.append(f"start {scene.starts} did not end within {LIMIT:.0f} s")
        scene.end_all()
        code = launcher.wait()
    if not scene.wait_until(lambda: not scene.alive(leaders=True)):
        scene.faults.append(f"start {scene.starts} left processes that train: {scene.alive(leaders=True)}")
        scene.end_all()
    if "Traceback" in (scene.folder / f"{scene.starts}.err").read_text(errors="replace"):
        scene.faults.append(f"start {scene.starts} ended with a traceback")
    return code


def check_code(scene: Scene, blow: Blow, code: int, early_or_late: bool) -> None:
    """Note an exit code that the blow does not explain.

    Before the program listens, and after it has ceased to, a signal does what it does to any program.
    """
    kind = KINDS[blow.kind]
    allowed = {*kind.codes}
    if early_or_late:
        allowed |= {0, 5, -kind.signals[0], 128 + kind.signals[0]}
    if code not in allowed:
        scene.faults.append(f"start {scene.starts} ended with exit code {code} after {blow}")


class Trace(NamedTuple):
    """All of a finished run that must not depend on what happened to it."""

    digest: str
    best: str
    steps: list[dict[str, float]]
    rows: list[list[str]]


def read_trace(run: Path) -> Trace:
    """Read a finished run."""
    from vit_cli.checkpoint.file import digest, read_checkpoint

    newest = max(run.glob("checkpoints/step-*.pt"))
    best = hashlib.sha256((run / "model/model.safetensors").read_bytes()).hexdigest()
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    steps = [{key: line[key] for key in ("step", "loss", "lr", "grad_norm")} for line in lines]
    with (run / "metrics.csv").open(newline="") as file:
        rows = [
            [row[key] for key in ("step", "train_loss", "val_loss", "top1", "best")] for row in csv.DictReader(file)
        ]
    return Trace(digest(read_checkpoint(newest)), f"{(run / 'checkpoints/best.pt').resolve().name} {best}", steps, rows)


def compare(scene: Scene, undisturbed: Trace) -> None:
    """Note all in which a run differs from the undisturbed one, and what it left behind."""
    trace = read_trace(scene.run)
    named = zip(Trace._fields, trace, undisturbed, strict=True)
    scene.faults += [f"its {name} differs" for name, mine, expected in named if mine != expected]
    if [step["step"] for step in trace.steps] != list(range(1, STEPS + 1)):
        scene.faults.append("steps.jsonl does not have every step once")
    judged = [row[0] for row in trace.rows]
    if len(judged) != len(set(judged)):
        scene.faults.append("metrics.csv has a row twice")
    if left := [path.name for path in (scene.run / "checkpoints").glob(".*")]:
        scene.faults.append(f"left behind: {left}")
    status = json.loads((scene.run / "status.json").read_text())["status"]
    if status != "finished" or not (scene.run / "summary.json").exists() or not (scene.run / "report.html").exists():
        scene.faults.append(f"its status is {status}, or its summary or its report is missing")


class Storm:
    """Runs the cases of a storm in a folder, and keeps what the undisturbed runs gave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.undisturbed: dict[tuple[int, str], Trace] = {}
        self.scenes: list[Scene] = []

    def make_scene(self, name: str) -> Scene:
        """Make the folder of a run."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "storm.yaml").write_text(RECIPE)
        self.scenes.append(Scene(folder))
        return self.scenes[-1]

    def find_undisturbed(self, case: Case) -> Trace:
        """Give the end of the same run left in peace; each is made once."""
        key = case.processes, case.variant
        if key not in self.undisturbed:
            scene = self.make_scene(f"undisturbed_{case.processes}_{case.variant}")
            code = wait(scene, scene.start(case, ()))
            if code or scene.faults:
                raise SystemExit(f"the undisturbed run in {scene.folder} failed: exit code {code}, {scene.faults}")
            self.undisturbed[key] = read_trace(scene.run)
        return self.undisturbed[key]

    def run(self, case: Case) -> bool:
        """Run a case, print its line, and tell whether it was equal."""
        undisturbed = self.find_undisturbed(case)
        scene = self.make_scene(f"run_{case.number:03d}")
        begin = time.monotonic()
        met = disturb(scene, case)
        compare(scene, undisturbed)
        if not scene.wait_until(lambda: not scene.alive(), LINGER):
            scene.faults.append(f"still alive: {scene.alive()}")
            scene.end_all()
        verdict = "equal" if not scene.faults else "NOT EQUAL"
        what = f"{case.processes} process{'es' if case.processes > 1 else ''}, {case.variant}"
        print(
            f"{case.number:4}  {what:20}  {verdict:9}  {time.monotonic() - begin:4.0f} s  {'; '.join(met)}", flush=True
        )
        for fault in scene.faults:
            print(f"      {fault}; see {scene.folder}", flush=True)
        if not scene.faults:
            shutil.rmtree(scene.folder)
        return not scene.faults


def main() -> int:
    """Read the arguments, let the storm loose, and print how many runs were equal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keeps the folders there; else in a new temporary folder")
    parser.add_argument("--only", type=int, nargs="+", help="repeat these runs alone")
    args = parser.parse_args()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="vit_storm_", dir=args.out))
    # A job in the background of a shell ignores Ctrl-C, and so would the runs; and a storm that is ended ends them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    storm = Storm(folder)
    numbers = args.only or range(args.runs)
    try:
        equal = sum([storm.run(plan_case(args.seed, number, args.processes)) for number in numbers])
    finally:
        for scene in storm.scenes:
            scene.end_all()
    if equal == len(numbers):
        shutil.rmtree(folder)
    blows = sum(scene.blows for scene in storm.scenes)
    print(f"{blows} blows; whatever is kept is in {folder}" if equal < len(numbers) else f"{blows} blows")
    print(f"{equal} of {len(numbers)} equal")
    return 0 if equal == len(numbers) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())

"""Which engine shall feed training, on the five criteria of docs/decisions/data_engine.md.

    python scripts/bench_engines.py [--json FILE] [--photos DIR] [--engines NAME ...] [--only A B C D E] [--quick]

    A  killed (SIGKILL, with its workers) after a random step and started again from its last saved state, a process gets
       the same entries and the same pixels as one that was left alone, to the bit: so many of so many kills
    B  two processes, then four, then one go through one epoch: entries lost and repeated
    C  images per second beside the plain DataLoader: the same files, the same transform, two workers, in turns; as they
       arrive, and by the processor time of the workers
    D  10 million entries: seconds to the first batch, and the memory of the largest worker
    E  a worker that is killed is reported: seconds until then; else "hung" after 90 s

Every engine runs the same function to make an image of (seed, epoch, entry), so that A can compare pixels and C compares
engines. The plain DataLoader has no state; it is there for C and D. Engines that are not installed are reported as absent
(Grain: pip install grain). "datasets, streaming" runs A and B without workers, since its state lies in the workers, out
of reach of a DataLoader. Every measurement is a process of its own. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.bench_arms import ENVIRONMENT
from scripts.bench_engines_streams import ENGINES, PLAIN, Engine, Job
from scripts.bench_engines_task import read_log, run_task
from scripts.bench_photos import PHOTOS, add_noise, find_photos, make_colours

PATIENCE = 90.0
STEPS = 40
ENTRIES, MANY = 2400, 10_000_000
BARS = {"C": 0.9, "seconds": 10.0, "megabytes": 1000.0}
"""What RELIABILITY asks for: 90 % of the plain DataLoader, a first batch within 10 s, workers below 1 GB."""


@dataclass(frozen=True)
class Finding:
    """What one engine reached at one criterion; `passes` is None where there is nothing to judge."""

    engine: str
    version: str
    criterion: str
    measured: dict[str, Any]
    passes: bool | None


@dataclass(frozen=True)
class Bench:
    """What all criteria share: small pictures for those of order, photos for those of speed, how often to repeat."""

    small: list[str]
    photos: list[str]
    kills: int
    rounds: int
    scratch: Path

    def small_job(self, workers: int, rank: int = 0, ranks: int = 1) -> Job:
        """Give small pictures in batches of 16."""
        return Job(self.small, ENTRIES, 16, 32, workers, rank, ranks)

    def large_job(self, entries: int, workers: int) -> Job:
        """Give photos at 224 in batches of 32."""
        return Job(self.photos, entries, 32, 224, workers)


def run_child(engine: Engine, job: Job, measure: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run one measurement in a process group of its own, of which nothing is left; its exit code is -SIGKILL if it hung."""
    task = json.dumps({"engine": engine.name, "job": asdict(job), "measure": measure, **more})
    command = [sys.executable, __file__, "--task", task]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True, env=os.environ | ENVIRONMENT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Read what a child measured. Raises RuntimeError, with its last words, if it failed."""
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def judge_kills(engine: Engine, bench: Bench) -> tuple[dict[str, Any], bool]:
    """A: kill at random steps and go on."""
    luck, equal, whole = random.Random(0), 0, {}
    folder = Path(tempfile.mkdtemp(dir=bench.scratch))

    def run(job: Job, log: Path, die_at: int) -> subprocess.CompletedProcess[str]:
        return run_child(engine, job, "log", log=str(log), state=f"{log}.state", steps=STEPS, die_at=die_at)

    for rank in (0, 1):
        answer(run(bench.small_job(engine.workers, rank, 2), folder / f"whole{rank}", 0))
        whole[rank] = read_log(folder / f"whole{rank}")
    for number in range(bench.kills):
        job, log = bench.small_job(engine.workers, number % 2, 2), folder / f"killed{number}"
        run(job, log, luck.randrange(1, STEPS))
        answer(run(job, log, 0))
        equal += read_log(log) == whole[number % 2]
    return {"equal": equal, "kills": bench.kills, "workers": engine.workers}, equal == bench.kills


def judge_ranks(engine: Engine, bench: Bench) -> tuple[dict[str, Any], bool]:
    """B: 2 -> 4 -> 1 processes in one epoch."""
    seen: Counter[int] = Counter()
    state: dict[str, Any] = {}
    for ranks in (2, 4, 1):
        after = []
        for rank in range(ranks):
            told = answer(
                run_child(
                    engine, bench.small_job(engine.workers, rank, ranks), "take", state=state, steps=ENTRIES // 48
                )
            )
            seen.update(told["entries"])
            after.append(told["state"])
        state = after[0]  # what the first process saves
    lost, repeated = ENTRIES - len(seen), seen.total() - len(seen)
    return {"lost": lost, "repeated": repeated, "entries": ENTRIES}, lost == repeated == 0


def judge_many(engine: Engine, bench: Bench) -> tuple[dict[str, Any], bool]:
    """D: time and memory with 10 million entries."""
    told = answer(run_child(engine, bench.large_job(MANY, 2), "start"))
    measured = {key: round(value, 2) for key, value in told.items()}
    return measured, measured["seconds"] <= BARS["seconds"] and measured["megabytes"] <= BARS["megabytes"]


def judge_crash(engine: Engine, bench: Bench) -> tuple[dict[str, Any], bool]:
    """E: a worker is killed."""
    job = bench.large_job(20_000, 2)
    job.crashes = True
    done = run_child(engine, job, "crash")
    if done.returncode == -signal.SIGKILL:
        return {"reported": f"hung for {PATIENCE:.0f} s"}, False
    told = answer(done)
    return told, told["reported"] != "nothing"


def judge_speed(engines: Sequence[Engine], bench: Bench) -> Iterator[Finding]:
    """C: all engines in turns, forwards and backwards; ratios are those of a round."""
    told: dict[str, list[dict[str, Any]]] = {engine.name: [] for engine in engines}
    for number in range(bench.rounds):
        for engine in engines if number % 2 == 0 else engines[::-1]:
            told[engine.name].append(answer(run_child(engine, bench.large_job(20_000, 2), "speed")))
    for engine in engines:
        ratios = {
            key: [mine[key] / plain[key] for mine, plain in zip(told[engine.name], told[PLAIN], strict=True)]
            for key in ("wall", "worker")
        }
        median, per_core = statistics.median(ratios["wall"]), statistics.median(ratios["worker"])
        measured = {
            "images_per_second": round(statistics.median(figures["wall"] for figures in told[engine.name]), 1),
            "ratio": round(median, 3),
            "low": round(min(ratios["wall"]), 3),
            "high": round(max(ratios["wall"]), 3),
            "ratio_per_core": round(per_core, 3),
        }
        yield Finding(engine.name, engine.version or "", "C", measured, min(median, per_core) >= BARS["C"])


JUDGES: dict[str, Callable[[Engine, Bench], tuple[dict[str, Any], bool]]] = {
    "A": judge_kills,
    "B": judge_ranks,
    "D": judge_many,
    "E": judge_crash,
}


def judge(engine: Engine, criterion: str, bench: Bench) -> Finding:
    """Judge an engine by one criterion; an error of its own is a finding too."""
    if engine.version is None:
        return Finding(engine.name, "absent", criterion, {}, None)
    if engine.name == PLAIN and criterion in "AB":
        return Finding(engine.name, engine.version, criterion, {"state": "none"}, None)
    try:
        measured, passes = JUDGES[criterion](engine, bench)
    except RuntimeError as error:
        measured, passes = {"error": str(error)}, False
    return Finding(engine.name, engine.version, criterion, measured, passes)


def write_small(folder: Path) -> list[str]:
    """Write 24 pictures of 40x48."""
    paths = [folder / f"small{number:02d}.jpg" for number in range(24)]
    for number, path in enumerate(paths):
        luck = np.random.default_rng(number)
        Image.fromarray(add_noise(make_colours(luck, (48, 40)), luck, 6)).save(path)
    return [str(path) for path in paths]


def main() -> int:
    """Read the arguments, judge, print the findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--engines", nargs="+", choices=[engine.name for engine in ENGINES], metavar="NAME")
    parser.add_argument("--only", nargs="+", choices="ABCDE", default=list("ABCDE"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(run_task(json.loads(args.task))), flush=True)
        os._exit(0)  # some engines' workers would be waited for
    engines = [engine for engine in ENGINES if not args.engines or engine.name in args.engines]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photos = [str(path.absolute()) for path in find_photos(args.photos, scratch)[0]]
        bench = Bench(write_small(scratch), photos, 2 if args.quick else 10, 1 if args.quick else 5, scratch)
        findings = [
            judge(engine, criterion, bench) for criterion in "ABDE" if criterion in args.only for engine in engines
        ]
        if "C" in args.only:
            findings += judge_speed([ENGINES[0], *(one for one in engines if one.name != PLAIN and one.version)], bench)
    for finding in sorted(findings, key=lambda finding: finding.criterion):
        word = {True: "passes", False: "fails", None: "-"}[finding.passes]
        print(f"{finding.criterion}  {finding.engine:28}{finding.version:18}{word:8}{json.dumps(finding.measured)}")
    if args.json:
        args.json.write_text(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

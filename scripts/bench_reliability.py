"""Measure what it costs that a run can't be lost.

    python scripts/bench_reliability.py [--only step save processes] [--rounds 5] [--steps 12] [--model tiny] [--json FILE]

step       a step of the shipped loop beside a bare one: the same model and batches, forward, backward, clipping, AdamW and
           average, without flags, watch, writer or journal. Both make a step in turn in one process; the ratio of a round is
           that of the medians of its steps. Also on two processes, where the flags of a step are reduced beside its gradients.
save       ViT-B/16 with AdamW and average: the size of a checkpoint, the time that training stands still for a copy to host
           memory beside that of writing it in the foreground, the time in the background, and a step meanwhile beside one without.
processes  two processes with a thread each beside one with two threads, the same global batch.

A ratio is ours / peer of what is better if larger (img/s), and reaches its floor or not; the exit code is 0 if all do.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vit_cli.data.batch import Batch
    from vit_cli.dist.world import World
    from vit_cli.train.wire import Run

WARM_UP, KEPT = 3, 8
"""Steps that are not counted, and batches that are made once and used again and again, so that no image is waited for."""

RECIPE = """\
model: {{name: vit, {model}, patch: 16, res: 224}}
data:
  train: {{name: synthetic, classes: 10, images: {images}, size: 224}}
  val: {{name: synthetic, classes: 10, images: 2, size: 224}}
  workers: 0
  cache: none
mix: {{mixup: 0.8, cutmix: 1.0}}
optim: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
train: {{steps: {steps}, batch_size: {batch}, clip_norm: 1.0, precision: fp32, ema: {{decay: 0.99}}}}
eval: {{every: {steps} steps}}
save: {{every: {steps} steps}}
track: {{log_every: 10 steps}}
"""
SMALL = "width: 64, depth: 4, heads: 2"


class Job(NamedTuple):
    """What a process measures; it travels as JSON."""

    arm: str
    model: str
    batch: int
    rounds: int
    steps: int


@contextmanager
def in_scratch() -> Iterator[World]:
    """Join the other processes, and work in a folder of one's own."""
    from vit_cli.dist.world import joined

    with joined("cpu") as world, tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        yield world
        os.chdir("/")


def build(job: Job, steps: int, world: World, name: str = "run") -> Run:
    """Build a run as `vit train` does, in the folder `name`."""
    from vit_cli.recipe.load import load_recipe
    from vit_cli.train.folder import RunFolder, make_folder
    from vit_cli.train.progress import Silence
    from vit_cli.train.wire import wire

    recipe, folder = Path(f"{name}.yaml"), RunFolder(Path(name).absolute())
    recipe.write_text(RECIPE.format(model=job.model, batch=job.batch, images=KEPT * job.batch, steps=steps))
    make_folder(folder)
    return wire(load_recipe(recipe).recipe, folder, world, Silence())


def make_batches(run: Run) -> list[Batch]:
    """Make the batches that are used again and again."""
    return [run.input.by_hand.make(number) for number in range(min(KEPT, run.plan.total_steps))]


def drive(run: Run, batches: Iterator[Batch]) -> None:
    """Have the shipped loop make a step of each batch, under the watch of the other processes."""
    from vit_cli.train.course import fail_at_once
    from vit_cli.train.loop import run_loop
    from vit_cli.train.state import TrainState
    from vit_cli.train.stop import StopFlag

    given = replace(run, input=replace(run.input, train=lambda _steps: batches))
    with StopFlag().listening() as stop, run.world.watch.on(fail_at_once, print, stop.ask), stop.saving():
        run_loop(given, TrainState(), stop)
        run.writer.wait()


def take_bare_step(run: Run, batch: Batch, step: int, averages: list[Any]) -> None:
    """Make an update as a plain loop does."""
    import torch

    share = run.plan.process_batch
    images, targets = run.mixer(run.prepare(batch.images), batch.labels, step, run.world.rank * share)
    loss = run.loss(run.wrapped(images), targets).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.parameters, 1.0)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in run.parameters], 0.01)


def measure_step(job: Job) -> dict[str, list[float]]:
    """Make steps of the shipped loop and bare ones in turn; give the seconds of each."""
    steps = WARM_UP + job.rounds * job.steps + 1
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    with in_scratch() as world:
        run, bare = build(job, steps, world, "ours"), build(job, steps, world, "bare")
        kept = make_batches(run)
        averages = [parameter.detach().clone() for parameter in bare.parameters]

        def batches() -> Iterator[Batch]:
            for step in range(steps):
                start = time.perf_counter()
                take_bare_step(bare, kept[step % len(kept)], step, averages)
                middle = time.perf_counter()
                yield kept[step % len(kept)]
                seconds["peer"].append(middle - start)
                seconds["ours"].append(time.perf_counter() - middle)

        drive(run, batches())
    return {arm: measured[WARM_UP : steps - 1] for arm, measured in seconds.items()}  # the last one also saves


def measure_speed(job: Job) -> dict[str, list[float]]:
    """Make steps of the shipped loop; give the seconds of each."""
    steps = WARM_UP + job.steps + 1
    ends: list[float] = []
    with in_scratch() as world:
        run = build(job, steps, world)
        kept = make_batches(run)

        def batches() -> Iterator[Batch]:
            for step in range(steps):
                ends.append(time.perf_counter())
                yield kept[step % len(kept)]

        drive(run, batches())
    return {"ours": [after - before for before, after in pairwise(ends)][WARM_UP:]}


def measure_save(job: Job) -> dict[str, list[float]]:
    """Save between steps, in the background and in the foreground; give the seconds of each part, and MiB of a checkpoint."""
    from vit_cli.train.keep import save
    from vit_cli.train.state import TrainState
    from vit_cli.train.step import take_step
    from vit_cli.train.stop import StopFlag

    measured: dict[str, list[float]] = {name: [] for name in ("stall", "foreground", "write", "step", "step_meanwhile")}
    with in_scratch() as world:
        run, state = build(job, 10_000, world), TrainState()
        kept = make_batches(run)

        def step() -> float:
            begin = time.perf_counter()
            take_step(run, kept[state.step % len(kept)], state.step, StopFlag())
            state.step += 1
            return time.perf_counter() - begin

        for _ in range(WARM_UP):
            step()
        for _ in range(job.rounds):
            measured["step"] += [step() for _ in range(job.steps)]
            begin = time.perf_counter()
            save(run, state)
            submitted = time.perf_counter()
            measured["stall"].append(submitted - begin)
            while is_writing(run):
                measured["step_meanwhile"].append(step())
            run.writer.wait()
            step()
            begin = time.perf_counter()
            save(run, state)
            submitted = time.perf_counter()
            run.writer.wait()
            measured["foreground"].append(time.perf_counter() - begin)
            measured["write"].append(time.perf_counter() - submitted)
        measured["mib"] = [path.stat().st_size / 2**20 for path in run.folder.checkpoints.glob("step-*.pt")]
    return measured


def is_writing(run: Run) -> bool:
    """Tell whether a checkpoint is being written."""
    return run.writer.thread is not None and run.writer.thread.is_alive()


ARMS = {"step": measure_step, "speed": measure_speed, "save": measure_save}


def run_job(job: Job, processes: int = 1, threads: int | None = None) -> dict[str, list[float]]:
    """Measure in processes of their own; give what the first one found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = {"GOMP_SPINCOUNT": "1000", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if threads:
        settings["OMP_NUM_THREADS"] = str(threads)
    started = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes} if processes > 1 else {}
        words = [sys.executable, __file__, "--job", json.dumps(job)]
        environment = os.environ | settings | {name: str(value) for name, value in place.items()}
        started.append(
            subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    ends = [process.communicate() for process in started]
    for process, (_, error) in zip(started, ends, strict=True):
        if process.returncode:
            sys.exit(f"the arm {job.arm} failed:\n{error}")
    measured: dict[str, list[float]] = json.loads(ends[0][0].splitlines()[-1])
    return measured


class Row(NamedTuple):
    """A line of the result; without a peer there is no ratio, without an aim no floor."""

    name: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None


def compare(name: str, unit: str, ours: Sequence[float], peer: Sequence[float], floor: float | None) -> Row:
    """Make the row of what was measured in pairs."""
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    shown = statistics.median(ours), statistics.median(peer), statistics.median(ratios), min(ratios), max(ratios)
    own, other, ratio, low, high = (round(value, 4) for value in shown)
    return Row(name, unit, own, other, ratio, low, high, floor)


def compare_steps(job: Job, name: str, processes: int = 1) -> Row:
    """Measure the shipped loop beside the bare one."""
    measured = run_job(job, processes, threads=1 if processes > 1 else None)
    rates = {
        arm: [job.batch / statistics.median(part) for part in parted(seconds, job.rounds)]
        for arm, seconds in measured.items()
    }
    return compare(name, "img/s", rates["ours"], rates["peer"], floor=0.98)


def parted(values: Sequence[float], parts: int) -> list[Sequence[float]]:
    """Cut values into so many equal parts."""
    size = len(values) // parts
    return [values[number * size : (number + 1) * size] for number in range(parts)]


def compare_saves(job: Job) -> list[Row]:
    """Measure saving."""
    measured = run_job(job)
    quiet = statistics.median(measured["step"])
    during = measured["step_meanwhile"]
    return [
        Row("checkpoint", "MiB", round(statistics.median(measured["mib"]), 1)),
        compare("save_stall", "s", measured["stall"], measured["foreground"], floor=None),
        Row("save_write", "s", round(statistics.median(measured["write"]), 3)),
        compare("step_during_save", "img/s", [job.batch / s for s in during], [job.batch / quiet] * len(during), None),
    ]


def compare_processes(job: Job) -> Row:
    """Measure two processes of one thread beside one of two, in turn."""
    seen: dict[int, list[float]] = {1: [], 2: []}
    for number in range(job.rounds):
        for processes in (1, 2) if number % 2 == 0 else (2, 1):
            seconds = run_job(job, processes, threads=3 - processes)["ours"]
            seen[processes].append(job.batch / statistics.median(seconds))
    return compare("two_processes", "img/s", seen[2], seen[1], floor=0.85)


def main() -> int:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=["step", "save", "processes"], choices=["step", "save", "processes"]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="of a round")
    parser.add_argument("--model", default="tiny", help="size of the model for step and processes")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--save-model", default="base", help="size of the model that is saved")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        job = Job(*json.loads(args.job))
        print(json.dumps(ARMS[job.arm](job)))
        return 0
    rounds, steps = args.rounds, args.steps
    named = f"size: {args.model}"
    rows: list[Row] = []
    if "step" in args.only:
        rows.append(compare_steps(Job("step", named, args.batch, rounds, steps), f"step_{args.model}"))
        rows.append(compare_steps(Job("step", SMALL, args.batch, rounds, 4 * steps), "step_small"))
        rows.append(compare_steps(Job("step", SMALL, args.batch, rounds, 4 * steps), "step_small_2_processes", 2))
    if "save" in args.only:
        rows += compare_saves(Job("save", f"size: {args.save_model}", 4, min(rounds, 3), 4))
    if "processes" in args.only:
        rows.append(compare_processes(Job("speed", named, args.batch, rounds, steps)))
    print(f"{'':24}{'ours':>10}{'peer':>10}{'ratio':>8}{'low':>8}{'high':>8}{'floor':>7}")
    for row in rows:
        numbers = [
            f"{'' if value is None else value:>{width}}"
            for value, width in zip(row[2:], (10, 10, 8, 8, 8, 7), strict=True)
        ]
        print(f"{row.name:24}{''.join(numbers)}   {row.unit}")
    if args.json:
        args.json.write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    return 0 if all(row.floor is None or (row.ratio or 0) >= row.floor for row in rows) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())

"""What scripts/bench_engines.py does in a process of its own: stream from one engine, and note what comes."""

from __future__ import annotations

import json
import os
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.bench_arms import children, watch
from scripts.bench_engines_streams import ENGINES, Job, Step

SAVE_EVERY = 5
WARM_UP, BATCHES = 30, 80
"""Batches that are not timed: Grain makes 500 images ahead."""


def digest(step: Step) -> str:
    """Sum up the entries and the pixels of a batch."""
    return f"{zlib.crc32(repr(step.entries).encode()):08x} {zlib.crc32(step.images.numpy().tobytes()):08x}"


def read_log(path: Path) -> dict[int, str]:
    """Read what each step got, the last time that it was made."""
    lines = (line.split(" ", 1) for line in path.read_text().splitlines())
    return {int(number): text for number, text in lines}


def log(steps: Iterator[Step], at: int, task: dict[str, Any]) -> None:
    """Write a line per step, save the state now and then, and be killed if that is asked for."""
    number = at
    with Path(task["log"]).open("a") as file:
        for number, step in enumerate(steps, at + 1):
            print(number, digest(step), file=file, flush=True)
            if number % SAVE_EVERY == 0:
                new = Path(f"{task['state']}.new")
                new.write_text(json.dumps({"number": number, "state": step.state}))
                new.replace(task["state"])
            if number == task["die_at"]:
                os.killpg(0, signal.SIGKILL)
            if number >= task["steps"]:
                break


def run_task(task: dict[str, Any]) -> dict[str, Any]:
    """Measure in this process; what `run_child` asked for."""
    job = Job(**{**task["job"], "owner": os.getpid()})
    engine = next(engine for engine in ENGINES if engine.name == task["engine"])
    begin = time.perf_counter()
    if task["measure"] == "log":
        saved = Path(task["state"])
        told: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {"number": 0, "state": {}}
        log(engine.stream(job, told["state"]), told["number"], task)
        return {}
    steps = engine.stream(job, task.get("state", {}))
    if task["measure"] == "take":
        taken = [next(steps) for _ in range(task["steps"])]
        return {"entries": [entry for step in taken for entry in step.entries], "state": taken[-1].state}
    if task["measure"] == "speed":
        return dict(watch((step.images for step in steps), WARM_UP, BATCHES))
    if task["measure"] == "start":
        next(steps)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "megabytes": max(map(resident_megabytes, children(os.getpid())))}
    try:
        for _ in range(200):
            next(steps)
    except Exception as error:  # noqa: BLE001 - whatever the engine raises is its report
        text = " ".join(str(error).split())[:200]
        return {"reported": f"{type(error).__name__}: {text}", "seconds": round(time.perf_counter() - begin, 1)}
    return {"reported": "nothing"}


def resident_megabytes(pid: int) -> float:
    """Read how much memory a process has in use."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines.get("VmRSS", "0").split()[0]) / 1000

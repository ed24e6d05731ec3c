"""What the benchmarks have in common: arms that alternate, each in a process of its own, ratios with their spread, a table."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TypedDict, TypeVar

Figures = dict[str, float]
"""What an arm measured, by name."""
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}
"""What `vit` sets for itself (cli/main.py), for both arms alike."""
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
Item = TypeVar("Item", bound=Sized)


class Fact(TypedDict):
    """A figure without a peer, or a name."""

    name: str
    unit: str
    ours: float | str


class Row(TypedDict):
    """One line of a benchmark: medians over the rounds, and the ratio of each round's two arms, above 1 where ours is better."""

    name: str
    unit: str
    ours: float
    peer: float
    ratio: float
    low: float
    high: float
    floor: float


def run_arm(script: str, words: Sequence[str], cwd: Path) -> Figures:
    """Run `script` with `words` in a process of its own; give the JSON on the last line that it prints."""
    command = [sys.executable, script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | ENVIRONMENT)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def alternate(measure: Callable[[str], Figures], rounds: int) -> tuple[list[Figures], list[Figures]]:
    """Measure "ours" and "peer" by turns: ours, peer, peer, ours, ours, ...; give what each measured in every round."""
    seen: dict[str, list[Figures]] = {"ours": [], "peer": []}
    for number in range(rounds):
        for arm in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            seen[arm].append(measure(arm))
    return seen["ours"], seen["peer"]


def make_row(name: str, unit: str, floor: float, ours: Sequence[float], peer: Sequence[float]) -> Row:
    """Bring the figures of all rounds, where more is better, to one line; floor 0 is for lines that only inform."""
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    return Row(
        name=name,
        unit=unit,
        ours=round(statistics.median(ours), 2),
        peer=round(statistics.median(peer), 2),
        ratio=round(statistics.median(ratios), 3),
        low=round(min(ratios), 3),
        high=round(max(ratios), 3),
        floor=floor,
    )


def print_rows(rows: Iterable[Row], peer: str = "timm") -> None:
    """Print the table."""
    print(f"{'':28}{'ours':>10}{peer:>10}{'ratio':>8}{'low':>8}{'high':>8}{'floor':>7}")
    for row in rows:
        figures = f"{row['ours']:>10}{row['peer']:>10}{row['ratio']:>8}{row['low']:>8}{row['high']:>8}{row['floor']:>7}"
        print(f"{row['name']:28}{figures}   {row['unit']}")


def finish(rows: Sequence[Row], path: Path | None, facts: Sequence[Mapping[str, object]] = ()) -> int:
    """Print the table and figures without a peer, write both to `path` if there is one, and give the exit code.

    It is 0 if every ratio reaches its floor.
    """
    print_rows(rows)
    for fact in facts:
        print(f"{fact['name']:28}{fact['ours']:>10}   {fact['unit']}")
    if path:
        path.write_text(json.dumps([*rows, *facts], indent=2) + "\n")
    return 0 if all(row["ratio"] >= row["floor"] for row in rows) else 1


def watch(batches: Iterable[Item], warm_up: int, measured: int) -> Figures:
    """Take batches as fast as they come, and time `measured` of them after the first `warm_up`.

    `wall` is images per second as they arrive here, `worker` images per second of processor time that the processes
    below this one took meanwhile: what one core makes that does nothing else, whatever else the machine does.
    """
    images, begin, before = 0, 0.0, 0.0
    for number, batch in enumerate(batches, start=1):
        images += len(batch) if number > warm_up else 0
        if number == warm_up:
            begin, before = time.perf_counter(), processor_seconds(children(os.getpid()))
        if number == warm_up + measured:
            break
    else:
        raise ValueError(f"there are fewer than {warm_up + measured} batches")
    seconds, spent = time.perf_counter() - begin, processor_seconds(children(os.getpid())) - before
    return {"wall": images / seconds, "worker": images / spent if spent else 0.0}


def children(parent: int) -> list[int]:
    """List the processes that `parent` started and that still run (Linux)."""
    return [pid for pid, fields in read_stats().items() if int(fields[1]) == parent]


def processor_seconds(pids: Iterable[int]) -> float:
    """Add up the processor time that processes took so far, all their threads (Linux; to a hundredth of a second)."""
    stats = read_stats()
    return TICK_SECONDS * sum(int(stats[pid][11]) + int(stats[pid][12]) for pid in pids)


def read_stats() -> Mapping[int, list[str]]:
    """Read /proc/PID/stat of all processes, from the state on, which stands behind the name in brackets."""
    found: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
    return found

"""Compare a step of ours with timm's on this machine: time, memory, the share of the matrix peak.

    python scripts/bench_step.py [--json FILE] [--arms DIR] [--photos DIR] [--quick] [--only NAME ...] [--inform]

First the gate: equal parameters, logits within 1e-4 in float32, 200 losses within 1 %. Then the rows. Ours is the loop as
`wire` builds it, on images in memory; the peer timm's model, mixing, optimiser factory and average in a loop that does per
step what its train.py does, on images in memory that are normalised already. Every arm of every round is a process of its own;
the order is ours, peer, peer, ours, ... A ratio is that of one round, above 1 where ours is better (memory: peer over ours);
printed is the median with the lowest and the highest. The exit code is 0 when every ratio reaches its floor.

Rows in bfloat16 are left out, and their floors count as missed, on a CPU without instructions for it: there torch
imitates it, a hundred times slower than float32. `--inform` adds rows without a floor, some of them in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.bench_arms import Figures, Row, alternate, finish, make_row, run_arm
from scripts.bench_photos import PHOTOS, find_photos, write_split
from scripts.bench_step_arms import measure_ours, measure_peer
from scripts.bench_step_gate import check_gate
from scripts.bench_step_works import FULL, INFORM, QUICK, WORKS, Extent, Work
from vit_cli.device import computes_in_bf16

ALL = {work.name: work for work in (*WORKS, *INFORM)}
ARMS: dict[str, Callable[[Work, Path, int], Figures]] = {"ours": measure_ours, "peer": measure_peer}


def compare(work: Work, root: Path, extent: Extent, arms: Path | None) -> Row:
    """Measure both arms of a row by turns."""
    words = ["--only", work.name, "--root", str(root), "--steps", str(extent.steps)]
    kind = work.measures
    if kind == "peak":
        ours = [run_arm(__file__, ["--arm", "ours", *words], root) for _ in range(extent.rounds)]
        peer = [{"peak": figures["peer"]} for figures in ours]
    else:
        ours, peer = alternate(lambda arm: run_arm(__file__, ["--arm", arm, *words], root), extent.rounds)
    if arms:
        for name, figures in (("ours", ours), ("peer", peer)):
            facts = describe_machine() | {"row": work.name, "arm": name, "steps": extent.steps, "rounds": figures}
            (arms / f"{work.name}_{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    row = make_row(work.name, work.unit, work.floor, [f[kind] for f in ours], [f[kind] for f in peer])
    return turn(row) if kind == "memory" else row


def turn(row: Row) -> Row:
    """Give the ratio of a row where less is better."""
    return {
        **row,
        "ratio": round(1 / row["ratio"], 3),
        "low": round(1 / row["high"], 3),
        "high": round(1 / row["low"], 3),
    }


def describe_machine() -> dict[str, object]:
    """Say what was measured on, with which versions, at which commit."""
    import timm

    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
        "bf16": computes_in_bf16(torch.device("cpu")),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "commit": head.stdout.strip(),
        "load": round(os.getloadavg()[0], 2),
    }


def choose(names: Sequence[str] | None, informs: bool) -> tuple[list[Work], list[str]]:
    """Give the rows to measure, and the names of those that this machine can't."""
    wanted = [ALL[name] for name in names] if names else [*WORKS, *(INFORM if informs else ())]
    can = computes_in_bf16(torch.device("cpu"))
    return [work for work in wanted if can or not work.needs_bf16], [w.name for w in wanted if w.needs_bf16 and not can]


def main() -> int:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arms", type=Path, help="write one JSON per row and arm into this folder")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--quick", action="store_true", help="one short round of each row, within 6 minutes")
    parser.add_argument("--only", nargs="+", choices=sorted(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--inform", action="store_true", help="add the rows without a floor")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--arm", choices=sorted(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(ARMS[args.arm](ALL[args.only[0]], args.root, args.steps)))
        return 0
    extent = QUICK if args.quick else FULL
    extent = Extent(args.rounds or extent.rounds, args.steps or extent.steps, extent.curve)
    works, missing = choose(args.only, args.inform)
    if args.arms:
        args.arms.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files, kind = find_photos(args.photos, root)
        write_split(files, root / "photos" / "val")
        print(", ".join(f"{key} {value}" for key, value in describe_machine().items()) + f"; {kind}", flush=True)
        gate = check_gate(extent.curve, root)
        print("gate: " + ", ".join(f"{name} {value:.1e}" for name, value in gate.items()), flush=True)
        rows = [compare(work, root, extent, args.arms) for work in works]
    code = finish(rows, args.json)
    if missing:
        print(f"not measured, for this CPU only imitates bfloat16: {', '.join(missing)}")
    return 1 if missing else code


if __name__ == "__main__":
    sys.exit(main())

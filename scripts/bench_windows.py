"""What attention in windows and along axes saves on large images: bench_windows.py [--json FILE] [--res 224 384 640 1024].

Times a forward and backward pass of ViT-Ti/16 on one image, whole and of one block, each in a process of its own, which
also gives the peak of its memory (Linux). Growth is the power of the image's area that a number grows with, from one
resolution to the next: 1 is linear. `--threads 1` minds other programs on the same cores least.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vit_cli.models.vit import Vit

KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "window": {"attention": "window", "window": 8},
    "axial": {"attention": "axial", "depth": 12},  # as many blocks as the others
}
RESOLUTIONS = (224, 384, 640, 1024)
PARTS = ("model", "block")
COLUMNS = ("seconds", "memory_mib", "gflops")
# glibc gives freed memory back at once, so that what is measured is not hidden in what making the model left behind; it costs time.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def make_pass(part: str, kind: str, res: int) -> tuple[nn.Module, Tensor, float]:
    """Make a model or its first block, what it sees, and the operations of its forward pass in units of 10^9."""
    model = Vit(size="tiny", patch=16, res=res, pool="cls", **KINDS[kind]).build(1000)
    if part == "model":
        return model, torch.randn(1, 3, res, res), model.flops() / 1e9
    return model.blocks[0], torch.randn(1, model.tokens, model.width), 2 * model.blocks[0].products(model.tokens) / 1e9


def memory_mib(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Give the memory of this process: now (VmRSS), or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def measure(part: str, kind: str, res: int, rounds: int) -> dict[str, float]:
    """Time forward and backward passes in this process; memory is the peak of the passes above what was there before."""
    torch.manual_seed(0)
    small, inputs, _ = make_pass(part, kind, 32)
    small(inputs).square().sum().backward()  # what torch loads when it is first used is not the case's
    module, inputs, gflops = make_pass(part, kind, res)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak of making the model
    before, taken = memory_mib("VmRSS"), []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        module(inputs).square().sum().backward()
        taken.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(taken[1:]), "memory_mib": memory_mib("VmHWM") - before, "gflops": gflops}


def measure_apart(part: str, kind: str, res: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure time, then memory, each in a process of its own, so that the peak of memory is this case's."""
    case = [sys.executable, __file__, "--case", part, kind, str(res), "--threads", str(options.threads), "--rounds"]
    timed = subprocess.run([*case, str(options.rounds)], check=True, capture_output=True, text=True)
    weighed = subprocess.run([*case, "1"], check=True, capture_output=True, text=True, env=os.environ | GIVE_BACK)
    memory = json.loads(weighed.stdout)["memory_mib"]
    return {"part": part, "kind": kind, "res": res, **json.loads(timed.stdout), "memory_mib": memory}


def growth(row: dict[str, Any], smaller: dict[str, Any]) -> dict[str, float]:
    """Give the powers of the area that a row's numbers have grown with since a smaller resolution."""
    area = 2 * math.log(row["res"] / smaller["res"])
    return {name: math.log(row[name] / smaller[name]) / area for name in COLUMNS}


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Measure every case, add it to `rows` with its growth, and print it."""
    print("part   attention   res  seconds  memory MiB   GFLOPs   growth with the area: seconds  memory  operations")
    for part, kind in [(part, kind) for part in PARTS for kind in KINDS]:
        smaller = None
        for res in options.res:
            row = measure_apart(part, kind, res, options)
            row["growth"] = growth(row, smaller) if smaller else None
            text = "  ".join(f"{row['growth'][name]:8.2f}" for name in COLUMNS) if smaller else ""
            print(
                f"{part:5}  {kind:9} {res:5}  {row['seconds']:7.3f}  {row['memory_mib']:10.1f}  {row['gflops']:7.2f}"
                f"                         {text}".rstrip(),
                flush=True,
            )
            rows.append(row)
            smaller = row


def main() -> None:
    """Measure every case, print a table, and write the rows if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--res", type=int, nargs="+", default=RESOLUTIONS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--case", nargs=3, metavar=("PART", "KIND", "RES"), help="measure one, and print it as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.case:
        part, kind, res = options.case
        print(json.dumps(measure(part, kind, int(res), options.rounds)))
        return
    facts = {
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": options.threads,
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    rows: list[dict[str, Any]] = []
    report(rows, options)
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

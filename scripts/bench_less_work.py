"""What is learned from less work: bench_less_work.py {digits,cifar} [--data DIR] [--out DIR] [--json FILE] [--seeds 0 1 2].

Trains a recipe as it is, in phases that see less, and for fewer steps, which cost about as much; shows the top-1 of the last
step beside the FLOPs and the processor seconds of the whole command. Each run is a process of its own with one thread. It
stops after `--time` and is resumed, which changes nothing of its result, and `--prefix "nice -n 19"` puts words before each
command, so that hours of runs can go on beside other work. Runs that are complete in `--out` are not made again.
"""

import argparse
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ASKED_TO_STOP = 143
"""The exit code of a run whose `--time` was up."""
HALF = "train.phases=[{until: 90%, drop_tokens: 0.5}]"
BASES: dict[str, list[str]] = {
    "digits": ["digits"],
    "cifar": [
        "cifar10_vit",
        "model={name: vit, width: 192, depth: 6, heads: 3, patch: 4, res: 32, pool: gap}",
        "augment=[{name: random_crop, padding: 4}, {name: flip}]",
        "optim={name: adamw, lr: 1e-3, weight_decay: 0.05}",
        "schedule={name: cosine, warmup: 10%}",
        "train={steps: 600, batch_size: 32}",
        "data.val.split=train[:2000]",  # of the test files
        "eval.every=100%",
        "save.every=100%",
    ],
}
ARMS: dict[str, dict[str, list[str]]] = {
    "digits": {
        "plain": [],
        "drop_tokens": [HALF],
        "res": ["train.phases=[{until: 40%, res: 8}, {until: 70%, res: 12}]"],
        "both": ["train.phases=[{until: 40%, res: 8}, {until: 90%, drop_tokens: 0.5}]"],
        "fewer steps": ["train.epochs=55"],
    },
    "cifar": {
        "plain": [],
        "drop_tokens": [HALF],
        "res": ["train.phases=[{until: 40%, res: 16}, {until: 70%, res: 24}]"],
        "both": ["train.phases=[{until: 40%, res: 16}, {until: 90%, drop_tokens: 0.5}]"],
        "fewer steps": ["train.steps=330"],
    },
}


def call(prefix: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run `vit` with these words on one thread; that it stopped at its time is no failure."""
    command = [*prefix, sys.executable, "-m", "vit_cli", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode not in (0, ASKED_TO_STOP):
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}\n{done.stderr}")
    return done


def processor_seconds() -> float:
    """Give what all finished commands have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, words: list[str], prefix: list[str], time: str) -> dict[str, Any]:
    """Train one run, in slices, and give its score and its cost; or read them, where it is complete."""
    result = folder / "less_work.json"
    if result.exists():
        return dict(json.loads(result.read_text(encoding="utf-8")))
    cost = json.loads(call(prefix, "train", *words, "-n", "--json").stdout)
    begin = processor_seconds()
    done = call(prefix, "train", *words, "--out", str(folder), "--overwrite", "--time", time, "-q")
    while done.returncode == ASKED_TO_STOP:
        done = call(prefix, "resume", str(folder), "--time", time, "-q")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    row = {
        "top1": summary["last"]["top1"],
        "steps": summary["step"],
        "flops": cost["train_flops"],
        "seconds": round(processor_seconds() - begin, 1),
    }
    result.write_text(json.dumps(row), encoding="utf-8")
    return row


def show(name: str, rows: list[dict[str, Any]], plain: list[dict[str, Any]]) -> str:
    """Write one line of the table: means over seeds, the spread of top-1, and the cost beside that of the plain arm."""
    scores = [row["top1"] for row in rows]
    mean = {key: statistics.mean(row[key] for row in rows) for key in ("flops", "seconds")}
    base = {key: statistics.mean(row[key] for row in plain) for key in ("flops", "seconds")}
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    each = ", ".join(f"{score:.2f}" for score in scores)
    return (
        f"| {name} | {rows[0]['steps']} | {mean['flops']:.3g} | {mean['flops'] / base['flops']:.2f} "
        f"| {mean['seconds']:.0f} | {mean['seconds'] / base['seconds']:.2f} "
        f"| {statistics.mean(scores):.2f} | {spread:.2f} | {each} |"
    )


def main() -> None:
    """Measure all arms, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=BASES)
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10's parquet files")
    parser.add_argument("--out", type=Path, default=Path("runs/less_work"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--time", default="8m")
    parser.add_argument("--prefix", type=shlex.split, default=[])
    options = parser.parse_args()
    base = list(BASES[options.job])
    if options.job == "cifar":
        base += [
            f"data.{side}.path={options.data}/{name}-*.parquet" for side, name in (("train",) * 2, ("val", "test"))
        ]
    arms = {name: ARMS[options.job][name] for name in options.arms or ARMS[options.job]}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for seed in options.seeds:
        for name, changes in arms.items():
            folder = options.out / f"{options.job}_{name.replace(' ', '_')}_{seed}"
            rows[name].append(measure(folder, [*base, *changes, f"seed={seed}"], options.prefix, options.time))
            print(f"{folder.name}: {rows[name][-1]}", file=sys.stderr, flush=True)
    print("| arm | steps | FLOPs | of plain | seconds | of plain | top-1 | deviation | by seed |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for name, measured in rows.items():
        print(show(name, measured, rows.get("plain", measured)))
    if options.json:
        about = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
        known = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
        text = json.dumps(known | {"about": about, options.job: rows}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What docs/speed/gpu.md asks of one GPU: our training beside timm's, and single questions, in calls of a few minutes.

    python scripts/bench_gpu.py --part b16 [--out DIR] [--minutes 8.5] [--rounds 2] [--seconds 8] [--commit NAME]
    python scripts/bench_gpu.py --part cifar --cifar DIR --runs DIR       # again, to go on, until it is over
    python scripts/bench_gpu.py --list                                    # the parts, with their numbers
    python scripts/bench_gpu.py --smoke                                   # every part on a CPU, next to nothing each

Part 1 comes first, for all else hangs on it. Arms take turns, each in a process of its own; the next is not begun if the
minutes may not suffice, and what was measured is written all the same: `gpu_PART_ARM.json` with the device, versions and
the figures of each round, `gpu_PART.json` with the ratios. In both arms: the model of timm's name with as many parameters,
batches of noise that lie on the device as bytes, normalisation, label smoothing 0.1, bf16 autocast, clipping to norm 1,
AdamW, an average of the weights. The step is that and nothing else; the loop is what goes on around it: ours is the shipped
one, timm's is put together as its train.py is. The first round compiles with an empty cache, later ones find it filled.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from scripts.bench_arms import Fact, Figures, Row, make_row, print_rows, run_arm
from scripts.bench_gpu_arms import measure_arm
from scripts.bench_gpu_checks import check_all
from scripts.bench_gpu_cifar import train_cifar
from scripts.bench_gpu_works import ARMS, FULL, SMOKE, TINY, WORKS, Extent, Work
from scripts.bench_input_cuda import FULL_GPU, SMOKE_GPU, measure_gpu
from scripts.bench_input_works import Place
from scripts.bench_photos import CIFAR, PHOTOS, find_photos, write_split

HERE = Path(__file__).parents[1]
PARTS = ("b16", "checks", "s16", "l16", "tune_s16", "tune_ti16", "b16_384", "deit3_l", "deit3_h", "input", "cifar")
LIBRARIES = ("torch", "torchvision", "timm", "triton", "numpy")
PAIRS = {
    "step": ("ours", "timm", "step_img_s", "step_floor"),
    "loop": ("ours", "timm", "loop_img_s", "loop_floor"),
    "loop_graph": ("ours_graph", "timm", "loop_img_s", "loop_floor"),
    "loop_graph_alone": ("ours_graph", "ours", "loop_img_s", ""),
    "step_eager": ("ours_eager", "timm_eager", "step_img_s", ""),
    "step_beside_eager": ("ours", "timm_eager", "step_img_s", "eager_floor"),
    "step_beside_max": ("ours", "timm_max", "step_img_s", ""),
    "timm_compiled": ("timm", "timm_eager", "step_img_s", ""),
}
"""The ratios that are looked at: two arms, the figure, and the field of `Work` that says what is asked for."""
Seen = dict[str, list[Figures]]


def compare(work: Work, measure: Callable[[str], Figures], rounds: int, until: float) -> Iterator[tuple[str, Seen]]:
    """Measure the arms by turns, forwards and backwards, as long as there is time; give all figures after each."""
    seen: Seen = {arm: [] for arm in work.arms}
    took: dict[str, float] = {}
    for number in range(rounds):
        for arm in work.arms if number % 2 == 0 else reversed(work.arms):
            begin = time.monotonic()
            if begin + took.get(arm, max(took.values(), default=0.0)) > until:
                print(f"no time for {arm} in round {number + 1}", flush=True)
                continue
            try:
                figures = measure(arm)
            except SystemExit as failed:  # the other arms still count
                print(str(failed)[-3000:], flush=True)
                continue
            took[arm] = time.monotonic() - begin
            seen[arm].append(figures)
            print(f"{arm:18}" + "".join(f" {key} {value:.4g}" for key, value in figures.items()), flush=True)
            yield arm, seen


def make_rows(part: str, work: Work, seen: Seen) -> Iterator[Row]:
    """Bring the rounds to the ratios that are asked for."""
    for name, (ours, peer, figure, field) in PAIRS.items():
        pairs = list(zip(seen.get(ours, ()), seen.get(peer, ()), strict=False))
        if pairs:
            floor = getattr(work, field) if field else 0.0
            yield make_row(
                f"{part}_{name}", "img/s", floor, *zip(*((a[figure], b[figure]) for a, b in pairs), strict=True)
            )


def describe_machine(commit: str) -> dict[str, Any]:
    """Say what was measured on, and which state of the code."""
    if not commit:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
        )
        commit = asked.stdout.strip() or "unknown"
    has_gpu = torch.cuda.is_available()
    return {
        "commit": commit,
        "device": torch.cuda.get_device_name() if has_gpu else f"CPU, {torch.get_num_threads()} threads",
        "cuda": torch.version.cuda if has_gpu else None,
        "cudnn": torch.backends.cudnn.version() if has_gpu else None,
        "python": platform.python_version(),
        **{name: find_version(name) for name in LIBRARIES},
    }


def find_version(name: str) -> str | None:
    """Give the version of a library, None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def run_work(part: str, args: argparse.Namespace, root: Path, machine: Mapping[str, Any]) -> None:
    """Compare the arms of a work and write their figures after each, then the ratios."""
    work = replace(WORKS[part], **TINY) if args.smoke else WORKS[part]
    extent = (SMOKE if args.smoke else FULL)._replace(**({"seconds": args.seconds} if args.seconds else {}))

    def measure(arm: str) -> Figures:
        if args.smoke and (part, arm) != (PARTS[0], "ours"):  # one shows that processes of their own work
            return measure_arm(work, ARMS[arm], extent, args.device, root)
        task = json.dumps({"work": asdict(work), "extent": extent._asdict(), "device": str(args.device)})
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(root / "compiled" / arm)
        return run_arm(str(HERE / "scripts/bench_gpu.py"), ["--arm", arm, "--task", task, "--runs", str(root)], root)

    seen: Seen = {}
    for arm, seen in compare(work, measure, args.rounds or extent.rounds, args.until):
        facts = {"part": part, "arm": arm, "work": asdict(work), "machine": machine, "rounds": seen[arm]}
        write(args.out / f"gpu_{part}_{arm}.json", facts)
    sizes = {arm: rounds[0]["parameters"] for arm, rounds in seen.items() if rounds}
    if len(set(sizes.values())) > 1:
        print(f"the arms have different models: {sizes}")
    rows = list(make_rows(part, work, seen))
    print_rows(rows, "other")
    write(args.out / f"gpu_{part}.json", {"machine": machine, "rows": rows})


def run_questions(part: str, args: argparse.Namespace, root: Path, machine: Mapping[str, Any]) -> None:
    """Answer what has no arms."""
    facts: list[Fact] = []
    for fact in ask(part, args, root):
        facts.append(fact)
        print(f"{fact['name']:28}{fact['ours']:>24}   {fact['unit']}", flush=True)
        write(args.out / f"gpu_{part}.json", {"machine": machine, "facts": facts})


def ask(part: str, args: argparse.Namespace, root: Path) -> Iterator[Fact]:
    """Give the figures of a part without arms, as they come."""
    if part == "checks":
        yield from check_all(args.device, args.smoke)
    elif part == "input":
        files, _ = find_photos(args.photos, root)
        for split in ("train", "val"):
            write_split(files[: 16 if args.smoke else None], root / "photos" / split, names=2 if args.smoke else 64)
        yield from measure_gpu(Place(root, args.cifar), args.device, SMOKE_GPU if args.smoke else FULL_GPU)
    else:
        devices = "cpu" if args.device.type == "cpu" else "auto"
        minutes = (args.until - time.monotonic()) / 60 - 0.5  # to read, save and end
        yield from train_cifar(args.cifar, args.runs or root / "runs", minutes, devices, args.smoke)


def run_task(args: argparse.Namespace) -> None:
    """Measure one arm in this process, and print its figures."""
    told = json.loads(args.task)
    work = Work(**told["work"] | {"arms": tuple(told["work"]["arms"])})
    print(
        json.dumps(measure_arm(work, ARMS[args.arm], Extent(**told["extent"]), torch.device(told["device"]), args.runs))
    )


def read_arguments() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", metavar="NAME", help="names or numbers of --list, or all")
    parser.add_argument("--list", action="store_true", help="print the parts")
    parser.add_argument(
        "--smoke", action="store_true", help="every part on a CPU with next to nothing, to see that it works"
    )
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks")
    parser.add_argument("--minutes", type=float, default=8.5, help="for all parts of this call together")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a window")
    parser.add_argument("--commit", default="", help="where there is no git")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cifar", type=Path, default=CIFAR)
    parser.add_argument("--runs", type=Path, help="where the run of cifar lies between two calls")
    parser.add_argument("--arm", choices=sorted(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out, args.cifar, args.photos = args.out.absolute(), args.cifar.absolute(), args.photos.absolute()
    args.runs = args.runs and args.runs.absolute()
    args.until = time.monotonic() + 60 * args.minutes
    args.device = torch.device("cpu" if args.smoke or not torch.cuda.is_available() else "cuda:0")
    asked = args.part or (["all"] if args.smoke else ["b16"])
    chosen = PARTS if asked == ["all"] else asked
    args.part = [PARTS[int(word) - 1] if word.isdecimal() else word for word in chosen]
    if unknown := [word for word in args.part if word not in PARTS]:
        parser.error(f"{unknown[0]} is no part; there are {', '.join(PARTS)}")
    return args


def main() -> int:
    """Do the parts that are asked for."""
    args = read_arguments()
    if args.list:
        print("\n".join(f"{number:2}  {part}" for number, part in enumerate(PARTS, start=1)))
        return 0
    if args.arm:
        run_task(args)
        return 0
    if args.device.type == "cpu" and not args.smoke:
        sys.exit("there is no GPU here; --smoke shows on a CPU that all of this works")
    if args.smoke:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compilation is the one thing that a smoke run leaves out
    machine = describe_machine(args.commit)
    print(json.dumps(machine), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # runs leave a link to the latest
        for part in args.part:
            print(f"\n{part}", flush=True)
            (run_work if part in WORKS else run_questions)(part, args, Path(scratch), machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Train and evaluate ViT-Ti/16 at 224 on real photos: the shipped loop beside timm's parts in a loop like its train.py.

    python scripts/bench_main.py [--photos DIR] [--precision fp32 bf16] [--rounds 3] [--steps 12] [--json FILE]

Both arms read the same JPEG files with the same number of loader workers and do per step: random resized crop, flip,
mixup or cutmix, forward, backward, clipping, AdamW. Every arm of every round is a process of its own; the order is ours,
peer, peer, ours, ... The ratio of a round is ours / peer; what is printed is the median with the lowest and highest.
The exit code is 0 when every ratio reaches its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.bench_arms import Figures, Row, alternate, finish, make_row, run_arm
from scripts.bench_loops import CPU, Stopwatch, evaluate_peer, train_ours, train_peer, wire_ours
from scripts.bench_photos import CLASSES, PHOTOS, find_photos, write_split

BATCH, WARM_UP, FLOOR = 32, 3, 1.0

RECIPE = """\
model: {{name: vit, size: tiny, patch: 16, res: 224, gelu: exact}}
data:
  train: {{name: folder, root: {root}, split: train}}
  val: {{name: folder, root: {root}, split: val}}
  workers: 1
  cache: none
augment:
  - {{name: random_resized_crop, scale: [0.08, 1.0], interpolation: bicubic}}
  - {{name: flip}}
mix: {{mixup: 0.8, cutmix: 1.0}}
loss: {{name: cross_entropy, label_smoothing: 0.1}}
optim: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
train: {{steps: {steps}, batch_size: 32, clip_norm: 1.0, precision: {precision}}}
eval: {{every: {steps} steps, batch_size: 32, crop: 0.875, interpolation: bicubic}}
track: {{log_every: 10 steps}}
"""


def measure_ours(root: Path, precision: str, steps: int) -> Figures:
    """Run the shipped loop as `wire` builds it."""
    from vit_cli.train.stop import StopFlag

    watch = Stopwatch()
    run = wire_ours(RECIPE.format(root=root, precision=precision, steps=WARM_UP + steps), root, watch)
    evaluation = run.evaluate(StopFlag())  # the loop's own evaluation, later, finds the images decoded
    trained = train_ours(run, watch, WARM_UP)
    return {"train": trained, "evaluate": evaluation.scores["images"] / evaluation.seconds}


def measure_peer(root: Path, precision: str, steps: int) -> Figures:
    """Run timm's data, model, mixing and optimiser, with what train.py and validate.py do per step."""
    from timm import create_model
    from timm.data import create_dataset, create_loader

    common = {
        "input_size": (3, 224, 224),
        "batch_size": BATCH,
        "interpolation": "bicubic",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "device": CPU,
        "use_prefetcher": True,
        "persistent_workers": False,
        "num_workers": 1,
    }
    train_set = create_dataset("", root=str(root), split="train", is_training=True)
    loader = create_loader(
        train_set, is_training=True, scale=(0.08, 1.0), hflip=0.5, color_jitter=None, auto_augment=None, re_prob=0.0,
        train_crop_mode="rrc", **common,
    )  # fmt: skip
    model = create_model("vit_tiny_patch16_224", num_classes=CLASSES)
    trained = train_peer(model, loader, precision, CLASSES, steps, WARM_UP)

    return {"train": trained, "evaluate": evaluate_peer(model, root / "val", BATCH, precision)}


ARMS: dict[str, Callable[[Path, str, int], Figures]] = {"ours": measure_ours, "peer": measure_peer}


def compare(root: Path, precision: str, rounds: int, steps: int) -> list[Row]:
    """Measure both arms alternately; give a row for training and one for evaluation."""
    words = ["--root", str(root), "--precision", precision, "--steps", str(steps)]
    ours, peer = alternate(lambda arm: run_arm(__file__, ["--arm", arm, *words], root), rounds)
    return [
        make_row(
            f"{work}_{precision}",
            "img/s",
            FLOOR,
            [figures[work] for figures in ours],
            [figures[work] for figures in peer],
        )
        for work in ("train", "evaluate")
    ]


def main() -> int:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=sorted(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(ARMS[args.arm](args.root, args.precision[0], args.steps)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files, kind = find_photos(args.photos, root)
        for split, part in (("train", files[1::2]), ("val", files[::2])):
            write_split(part, root / split)
        extent = f"{args.rounds} rounds of {args.steps} steps"
        print(f"ViT-Ti/16 at 224, batch {BATCH}, {kind}, {extent}, {torch.get_num_threads()} threads")
        rows = [row for precision in args.precision for row in compare(root, precision, args.rounds, args.steps)]
    return finish(rows, args.json)


if __name__ == "__main__":
    sys.exit(main())

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
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

BATCH, CLASSES, WARM_UP, FLOOR = 32, 10, 3, 1.0
PHOTOS = Path(__file__).parents[2] / "shared/data/photos"

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


def measure_ours(root: Path, precision: str, steps: int) -> dict[str, float]:
    """Run the shipped loop as `wire` builds it."""
    from vit_cli.dist.world import World
    from vit_cli.recipe.load import load_recipe
    from vit_cli.train.folder import RunFolder, make_folder
    from vit_cli.train.loop import run_loop
    from vit_cli.train.progress import Silence, Tick
    from vit_cli.train.state import TrainState
    from vit_cli.train.stop import StopFlag
    from vit_cli.train.wire import wire

    class Stopwatch(Silence):
        """Notes when each step ended."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def tick(self, tick: Tick) -> None:
            self.ends.append(time.perf_counter())

    recipe = root / f"{precision}.yaml"
    recipe.write_text(RECIPE.format(root=root, precision=precision, steps=WARM_UP + steps))
    folder = RunFolder(Path(tempfile.mkdtemp(dir=root)))
    make_folder(folder)
    watch = Stopwatch()
    run = wire(load_recipe(recipe).recipe, folder, World(0, 1, torch.device("cpu")), watch)
    evaluation = run.evaluate()  # the loop's own evaluation, later, finds the images decoded
    run_loop(run, TrainState(), StopFlag())
    trained = BATCH * steps / (watch.ends[-1] - watch.ends[WARM_UP - 1])
    return {"train": trained, "evaluate": evaluation.scores["images"] / evaluation.seconds}


def measure_peer(root: Path, precision: str, steps: int) -> dict[str, float]:
    """Run timm's data, model, mixing and optimiser, with what train.py and validate.py do per step."""
    from timm import create_model
    from timm.data import Mixup, create_dataset, create_loader
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter, accuracy, dispatch_clip_grad

    device = torch.device("cpu")
    amp = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if precision == "bf16" else nullcontext
    common = {
        "input_size": (3, 224, 224),
        "batch_size": BATCH,
        "interpolation": "bicubic",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "device": device,
        "use_prefetcher": True,
        "persistent_workers": False,
    }
    train_set = create_dataset("", root=str(root), split="train", is_training=True)
    loader = create_loader(
        train_set, is_training=True, scale=(0.08, 1.0), hflip=0.5, color_jitter=0.0, auto_augment=None, re_prob=0.0,
        train_crop_mode="rrc", num_workers=1, **common,
    )  # fmt: skip
    model = create_model("vit_tiny_patch16_224", num_classes=CLASSES)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES)
    loss_fn, losses, ends = SoftTargetCrossEntropy(), AverageMeter(), []

    def endless() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from loader

    model.train()
    for images, targets in endless():
        images, targets = mixup(images, targets)
        with amp():
            loss = loss_fn(model(images), targets)
        losses.update(loss.item(), images.size(0))
        loss.backward()
        dispatch_clip_grad(model.parameters(), value=1.0, mode="norm")
        optimizer.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
        if len(ends) == WARM_UP + steps:
            break

    val_set = create_dataset("", root=str(root), split="val", is_training=False)
    model.eval()
    begin, images_seen, top1 = time.perf_counter(), 0, AverageMeter()
    with torch.inference_mode():
        for images, targets in create_loader(val_set, is_training=False, crop_pct=0.875, num_workers=1, **common):
            with amp():
                logits = model(images)
                losses.update(torch.nn.functional.cross_entropy(logits, targets).item(), len(images))
            top1.update(accuracy(logits, targets, topk=(1, 5))[0].item(), len(images))
            images_seen += len(images)
    return {
        "train": BATCH * steps / (ends[-1] - ends[WARM_UP - 1]),
        "evaluate": images_seen / (time.perf_counter() - begin),
    }


ARMS: dict[str, Callable[[Path, str, int], dict[str, float]]] = {"ours": measure_ours, "peer": measure_peer}


def gather_photos(photos: Path, root: Path) -> str:
    """Make class folders with half of the photos to train on and half to evaluate; write photos where there are none."""
    files = sorted(photos.glob("*.JPEG"))
    kind = f"{len(files)} ImageNet photos" if files else "200 made-up photos of 500x375"
    if not files:
        files = [write_photo(root / f"made{number:03d}.jpg", number) for number in range(200)]
    for number, file in enumerate(files):
        folder = root / ("train" if number % 2 else "val") / f"class{number // 2 % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d}.jpg").write_bytes(file.read_bytes())
    return kind


def write_photo(path: Path, seed: int) -> Path:
    """Write a photo-like JPEG: smooth colours with some noise."""
    from PIL import Image

    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(small, dtype=np.int16) + random.integers(-12, 13, (375, 500, 3))
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def run_arm(arm: str, root: Path, precision: str, steps: int) -> dict[str, float]:
    """Measure one arm in a process of its own."""
    words = [
        sys.executable,
        __file__,
        "--arm",
        arm,
        "--root",
        str(root),
        "--precision",
        precision,
        "--steps",
        str(steps),
    ]
    environment = os.environ | {
        "GOMP_SPINCOUNT": "1000"
    }  # what `vit` sets for itself (cli/main.py), for both arms alike
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root, env=environment)
    if done.returncode:
        sys.exit(f"the arm {arm} failed:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def compare(root: Path, precision: str, rounds: int, steps: int) -> list[dict[str, object]]:
    """Measure both arms alternately; give a row for training and one for evaluation."""
    seen: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for number in range(rounds):
        for arm in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            seen[arm].append(run_arm(arm, root, precision, steps))
    rows: list[dict[str, object]] = []
    for work in ("train", "evaluate"):
        ours, peer = ([measured[work] for measured in seen[arm]] for arm in ("ours", "peer"))
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        rows.append(
            {
                "name": f"{work}_{precision}",
                "unit": "img/s",
                "ours": round(statistics.median(ours), 2),
                "peer": round(statistics.median(peer), 2),
                "ratio": round(statistics.median(ratios), 3),
                "low": round(min(ratios), 3),
                "high": round(max(ratios), 3),
                "floor": FLOOR,
            }
        )
    return rows


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
        kind = gather_photos(args.photos, root)
        extent = f"{args.rounds} rounds of {args.steps} steps"
        print(f"ViT-Ti/16 at 224, batch {BATCH}, {kind}, {extent}, {torch.get_num_threads()} threads")
        rows = [row for precision in args.precision for row in compare(root, precision, args.rounds, args.steps)]
    print(f"{'':16}{'ours':>10}{'timm':>10}{'ratio':>8}{'low':>8}{'high':>8}   img/s")
    for row in rows:
        print(f"{row['name']:16}{row['ours']:>10}{row['peer']:>10}{row['ratio']:>8}{row['low']:>8}{row['high']:>8}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(row["ratio"] >= row["floor"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Judge ViT-Ti/16 at 224 on real photos: what `vit eval` does, beside timm's own loader and model in validate.py's loop.

    python scripts/bench_eval.py [--photos DIR] [--rounds 3] [--names 5] [--json FILE]

Both arms judge the same weights (timm's, drawn from one seed) in float32 on the same JPEG files: the short side to 256 by
a bicubic filter, the middle 224. Alike are the batch of 64 and the one loader worker; in `timm_as_shipped` timm has
validate.py's own defaults, a batch of 256 and four workers. Arms alternate, each in a process of its own. Loss and top-1
must be equal but for decoding: timm resizes by Pillow. A rate counts from the start of the loader to the last score;
starting Python and making the model do not count. `peak_mib` is the most memory that the main process held, and its ratio
timm's by ours. The exit code is 0 when every ratio reaches its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.bench_arms import Figures, Row, alternate, finish, make_row, run_arm
from scripts.bench_loops import CPU, judge_peer
from scripts.bench_photos import CLASSES, PHOTOS, find_photos, write_split

BATCH, FLOOR = 64, 1.3
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop": 0.875, "resize": "short", "interpolation": "bicubic"}
WEIGHTS = "vit_tiny_patch16_224.safetensors"
LOSS_GAP = 0.01


def write_weights(root: Path) -> None:
    """Write the weights that both arms judge, as timm's own file."""
    from safetensors.torch import save_file
    from timm import create_model

    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", num_classes=CLASSES)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    save_file(model.state_dict(), root / WEIGHTS)


def measure_ours(root: Path) -> Figures:
    """Do what `vit eval WEIGHTS --data DIR` does."""
    from vit_cli.dist.world import World
    from vit_cli.evaluate.class_names import give_names
    from vit_cli.evaluate.images import open_folder_data
    from vit_cli.evaluate.open import open_weights
    from vit_cli.evaluate.saved import evaluate_saved, make_ready

    saved = give_names(open_weights(root / WEIGHTS), root / "val")
    saved = replace(saved, about=saved.about | {"preprocess": PREPROCESS})
    world = World(0, 1, CPU)
    ready = replace(make_ready(saved, world), precision="fp32")
    evaluation = evaluate_saved(ready, open_folder_data(root / "val", None, saved), world, batch_size=BATCH)
    scores = evaluation.scores
    return {"rate": scores["images"] / evaluation.seconds, "loss": scores["loss"], "top1": scores["top1"]} | peak()


def measure_peer(root: Path, batch: int = BATCH, workers: int = 1) -> Figures:
    """Do what timm's validate.py does."""
    from safetensors.torch import load_file
    from timm import create_model

    model = create_model("vit_tiny_patch16_224", num_classes=CLASSES)
    model.load_state_dict(load_file(root / WEIGHTS))
    return judge_peer(model, root / "val", batch, "fp32", workers) | peak()


def peak() -> Figures:
    """Give the most memory that this process held so far."""
    from vit_cli.device import peak_memory_gib

    return {"peak_mib": 1024 * peak_memory_gib(CPU)}


PEERS: dict[str, Callable[[Path], Figures]] = {
    "timm_alike": measure_peer,
    "timm_as_shipped": partial(measure_peer, batch=256, workers=4),
}
ARMS = {"ours": measure_ours} | PEERS


def compare(root: Path, peer: str, rounds: int) -> list[Row]:
    """Measure ours and a peer by turns; end the program if they do not say the same."""
    names = {"ours": "ours", "peer": peer}
    ours, theirs = alternate(lambda arm: run_arm(__file__, ["--arm", names[arm], "--root", str(root)], root), rounds)
    gap = abs(ours[0]["loss"] - theirs[0]["loss"])
    print(
        f"{peer}: loss {ours[0]['loss']:.4f} and {theirs[0]['loss']:.4f}, top-1 {ours[0]['top1']} and {theirs[0]['top1']}"
    )
    if gap > LOSS_GAP:
        sys.exit(f"the losses are {gap:.4f} apart: the arms do not judge alike")
    rates = [[figures["rate"] for figures in arm] for arm in (ours, theirs)]
    peaks = [[figures["peak_mib"] for figures in arm] for arm in (ours, theirs)]
    memory = make_row(f"{peer}_peak_mib", "MiB", 0, peaks[1], peaks[0])
    memory["ours"], memory["peer"] = memory["peer"], memory["ours"]
    return [make_row(peer, "img/s", FLOOR, *rates), memory]


def main() -> int:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--names", type=int, default=5, help="times that each photo is judged")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--few", type=int, help="take so many photos, 10 or more, to try the script")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=sorted(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(ARMS[args.arm](args.root)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files, kind = find_photos(args.photos, root)
        write_split(files[: args.few], root / "val", args.names)
        write_weights(root)
        extent = f"{args.names} times each, {args.rounds} rounds"
        print(f"ViT-Ti/16 at 224, float32, {kind}, {extent}, {torch.get_num_threads()} threads")
        rows = [row for peer in args.peers for row in compare(root, peer, args.rounds)]
    return finish(rows, args.json)


if __name__ == "__main__":
    sys.exit(main())

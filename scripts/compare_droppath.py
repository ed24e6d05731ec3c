"""Train with stochastic depth that computes only what it keeps, and with masks over all images: equal accuracy?

    python scripts/compare_droppath.py [--seeds 3] [--rate 0.3] [key=value ...]

Both arms train the recipe `digits` with the same seeds, at one rate in all blocks. Prints top-1 and loss on the images that are
held out, at the last step, and the seconds of each run, one after another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ARMS = {"picked": 0.1, "masked": 1.0}
"""`SKIP_ABOVE` of vit_cli/models/layers.py in each arm."""
TRAIN = """
import sys
from vit_cli.models import layers
layers.SKIP_ABOVE = float(sys.argv.pop(1))
from vit_cli.cli.main import main
main()
"""


def train(arm: str, seed: int, words: list[str]) -> dict[str, float]:
    """Train once, in a process of its own; give the last scores."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = [sys.executable, "-c", TRAIN, str(ARMS[arm]), "train", "digits", f"seed={seed}", *words]
        subprocess.run([*command, "--out", str(out), "-q"], check=True)
        summary = json.loads((out / "summary.json").read_text())
    return {
        "top1": summary["last"]["top1"],
        "val_loss": summary["last"]["val_loss"],
        "seconds": summary["train_seconds"],
    }


def main() -> None:
    """Read the arguments, train, print a line for each run and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.3)
    args, words = parser.parse_known_args()
    words += [f"model.drop_path={args.rate}", "model.drop_path_rule=constant"]
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        for arm in ARMS:
            found[arm].append(train(arm, seed, words))
            print(f"{arm:8} seed {seed}  " + "  ".join(f"{k} {v:.4f}" for k, v in found[arm][-1].items()), flush=True)
    for arm, runs in found.items():
        means = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        print(f"{arm:8} mean    " + "  ".join(f"{key} {value:.4f}" for key, value in means.items()))


if __name__ == "__main__":
    main()

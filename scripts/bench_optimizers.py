"""What a step with Muon costs beside one with AdamW: bench_optimizers.py [--size tiny] [--batch 16 64] [--rounds 6] [--json FILE].

Both arms train one ViT/16 at 224 pixels on the same random images, by turns in one process: forward, backward, clipping, the
optimiser's step. `update` is the optimiser's step alone. Ratios are Muon to AdamW in each round: the median, the lowest and
the highest.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from vit_cli.device import autocast, choose_device, choose_precision, describe_device
from vit_cli.models.sizes import SIZES, SizeName
from vit_cli.models.vit import ViT, Vit
from vit_cli.optim.adamw import AdamW
from vit_cli.optim.clip import Clip
from vit_cli.optim.groups import make_groups, no_matrices, set_lr
from vit_cli.optim.muon import Muon

DEVICE = choose_device("auto")
RES, CLASSES = 224, 1000


class Arm:
    """A model with its optimiser."""

    def __init__(self, section: AdamW | Muon, size: SizeName) -> None:
        torch.manual_seed(0)
        self.model: ViT = Vit(size=size, patch=16, res=RES).build(CLASSES).to(DEVICE)
        self.precision = choose_precision("auto", DEVICE, self.model.width)
        groups = make_groups(
            self.model.named_parameters(),
            weight_decay=section.weight_decay,
            layer_decay=1.0,
            decays=self.model.decays,
            layer_of=self.model.layer_of,
            layers=self.model.layers,
            matrices=self.model.matrices if isinstance(section, Muon) else no_matrices,
        )
        self.optimizer, self.clip = section.build(groups), Clip(1.0)
        set_lr(self.optimizer, section.lr)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """Take a step; give the seconds of all of it, and of the update alone."""
        begin = now()
        with autocast(DEVICE, self.precision):
            loss = nn.functional.cross_entropy(self.model(images), labels)
        loss.backward()
        self.clip(list(self.model.parameters()))
        before = now()
        self.optimizer.step()
        end = now()
        self.optimizer.zero_grad(set_to_none=True)
        return {"step": end - begin, "update": end - before}

    def moments_mib(self) -> float:
        """Give the size of what the optimiser remembers."""
        tensors = [value for state in self.optimizer.state.values() for value in state.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def now() -> float:
    """Read the clock when the device has done all that it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def compare(arms: Mapping[str, Arm], batch: int, rounds: int) -> dict[str, object]:
    """Time both arms by turns on batches of one size, after two rounds that do not count."""
    images, labels = torch.randn(batch, 3, RES, RES, device=DEVICE), torch.randint(CLASSES, (batch,), device=DEVICE)
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for number in range(rounds + 2):
        for name in sorted(arms, reverse=number % 2 == 1):
            taken[name].append(arms[name].step(images, labels))
    row: dict[str, object] = {"batch": batch}
    for part in ("step", "update"):
        seconds = {name: [figures[part] for figures in found[2:]] for name, found in taken.items()}
        ratios = [muon / adamw for adamw, muon in zip(seconds["adamw"], seconds["muon"], strict=True)]
        row |= {f"{part}_{name}_ms": round(1e3 * statistics.median(seconds[name]), 1) for name in arms}
        row |= {f"{part}_ratio": [round(f(ratios), 3) for f in (statistics.median, min, max)]}
    return row


def main() -> None:
    """Compare at every batch size, print the rows, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    arms = {"adamw": Arm(AdamW(), options.size), "muon": Arm(Muon(), options.size)}
    rows = [compare(arms, batch, options.rounds) for batch in options.batch]
    facts = {
        "device": describe_device(DEVICE),
        "precision": arms["muon"].precision,
        "torch": torch.__version__,
        "size": options.size,
        "load": [round(load, 2) for load in os.getloadavg()],
        "moments_mib": {name: round(arm.moments_mib(), 1) for name, arm in arms.items()},
    }
    print(json.dumps(facts))
    for row in rows:
        print(json.dumps(row))
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The two arms of scripts/bench_step.py: the shipped loop as `wire` builds it, and timm's parts in a loop like its train.py."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scripts.bench_arms import Figures
from scripts.bench_loops import Stopwatch, evaluate_peer, train_ours, train_peer, wire_ours
from scripts.bench_step_works import WARM_UP, Work
from vit_cli.train.measure import measure_peak

CLASSES = 10
RECIPE = """\
model: {model}
data: {data}
mix: {{mixup: 0.8, cutmix: 1.0}}
loss: {{name: cross_entropy, label_smoothing: 0.1}}
optim: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
train: {train}
eval: {{every: {steps} steps, batch_size: {batch}, crop: 0.875, interpolation: bicubic}}
save: {{every: {steps} steps}}
track: {{log_every: 50 steps}}
"""
PEAK_SECONDS = 5.0


def measure_ours(work: Work, root: Path, steps: int) -> Figures:
    """Measure the shipped loop at one work."""
    start = peak_mib()
    watch = Stopwatch()
    run = wire_ours(write_recipe(work, root, WARM_UP + steps), root, watch)
    if work.measures == "evaluate":
        from vit_cli.train.stop import StopFlag

        evaluation = run.evaluate(StopFlag())
        return {"evaluate": evaluation.scores["images"] / evaluation.seconds}
    rate = train_ours(run, watch, WARM_UP)
    figures = {"step": rate, "memory": peak_mib() - start}
    if work.measures == "peak":
        figures |= {
            "peak": rate * run.model.training_flops() / 1e9,
            "peer": measure_peak(run.world, run.precision, PEAK_SECONDS) / 1e9,
        }
    return figures


def write_recipe(work: Work, root: Path, steps: int) -> str:
    """Write the recipe of a work: images that are in memory, or for an evaluation real photos in files."""
    shape, batch = work.shape, work.images
    model = {
        "name": "vit",
        "size": shape.size,
        "patch": shape.patch,
        "res": shape.res,
        "gelu": "exact",
        "pool": work.pool,
    }
    made = {"name": "synthetic", "images": 4 * batch, "size": shape.res}
    photos = {"name": "folder", "root": str(root / "photos"), "split": "val"}
    data: dict[str, Any] = {"train": made, "val": made | {"images": CLASSES}, "cache": "ram"}
    if work.measures == "evaluate":
        data = {"train": photos, "val": photos, "cache": "none", "workers": 1}
    train: dict[str, Any] = {"steps": steps, "batch_size": batch, "clip_norm": 1.0, "precision": work.ours}
    train |= {"ema": {"decay": 0.9999}, "recompute": work.recompute, "compile": "blocks" if work.compiled else "off"}
    if work.drop_path:
        model |= {"drop_path": work.drop_path, "drop_path_rule": "constant"}
    return RECIPE.format(
        model=json.dumps(model), data=json.dumps(data), train=json.dumps(train), steps=steps, batch=batch
    )


def measure_peer(work: Work, root: Path, steps: int) -> Figures:
    """Measure timm at one work; its batches are normalised floats already, which ours are not."""
    start = peak_mib()
    model = make_peer(work)
    if work.measures == "evaluate":
        return {"evaluate": evaluate_peer(model, root / "photos" / "val", work.images, work.peer)}
    batches = list(make_batches(work))
    rate = train_peer(
        torch.compile(model) if work.compiled else model, batches, work.peer, CLASSES, steps, WARM_UP, averaged=model
    )
    return {"step": rate, "memory": peak_mib() - start}


def make_peer(work: Work) -> nn.Module:
    """Build timm's model, with one rate of stochastic depth in all blocks where we have that."""
    from timm import create_model

    shape = work.shape
    model: nn.Module = create_model(
        shape.timm,
        num_classes=CLASSES,
        img_size=shape.res,
        patch_size=shape.patch,
        drop_path_rate=work.drop_path,
        global_pool={"cls": "token", "gap": "avg"}[work.pool],
    )
    for module in model.modules():
        if work.drop_path and hasattr(module, "drop_prob"):
            module.drop_prob = work.drop_path
    if work.drop_path:  # timm's first block has none, for its rates rise from zero
        from timm.layers import DropPath

        model.blocks[0].drop_path1, model.blocks[0].drop_path2 = DropPath(work.drop_path), DropPath(work.drop_path)
    return model


def make_batches(work: Work) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the images of our synthetic source, normalised, with their labels."""
    from vit_cli.data.synthetic import Synthetic

    samples = Synthetic(images=4 * work.images, size=work.shape.res).open()
    labels = torch.from_numpy(samples.labels)
    for start in range(0, len(samples), work.images):
        rows = range(start, start + work.images)
        pixels = torch.stack([torch.from_numpy(samples.read(row)).permute(2, 0, 1) for row in rows])
        yield pixels.float().div(127.5).sub(1).contiguous(), labels[start : start + work.images]


def peak_mib() -> float:
    """Give the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

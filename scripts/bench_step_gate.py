"""What must hold before steps are compared: ours and timm's are the same model, and learn the same from the same images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.bench_arms import Figures
from scripts.bench_loops import wire_ours
from scripts.bench_step_arms import make_batches, make_peer, write_recipe
from scripts.bench_step_works import D192, TI16, Work
from vit_cli.train.progress import Silence

LOGITS, CURVE = 1e-4, 0.01


def check_gate(steps: int, root: Path) -> Figures:
    """Compare parameters, logits in float32 and `steps` losses; AssertionError if they differ by more than they may."""
    figures: Figures = {}
    for name, shape in (("ti16", TI16), ("d192", D192)):
        ours, peer = twins(Work(name, 0.0, shape, ours="fp32", peer="fp32", batch=16), root, steps)
        counts = [sum(p.numel() for p in model.parameters()) for model in (ours.model, peer)]
        assert counts[0] == counts[1], f"{name}: {counts[0]} and {counts[1]} parameters"
        images = torch.randn(4, 3, shape.res, shape.res, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            figures[f"{name}_logits"] = (ours.model.eval()(images) - peer.eval()(images)).abs().max().item()
        assert figures[f"{name}_logits"] <= LOGITS, figures
    figures["curve"] = compare_curves(ours, peer, steps)
    assert figures["curve"] <= CURVE, figures
    return figures


def twins(work: Work, root: Path, steps: int) -> tuple[Any, Any]:
    """Build both with the same weights, drawn at random, the head's too."""
    from safetensors.torch import save_file

    from vit_cli.evaluate.open import open_weights
    from vit_cli.models.adapt import load_weights

    torch.manual_seed(0)
    peer = make_peer(work)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "peer.safetensors"
        save_file(peer.state_dict(), file)
        saved = open_weights(file, "timm")
    text = write_recipe(work, root, steps).replace("mixup: 0.8, cutmix: 1.0", "prob: 0")
    run = wire_ours(text.replace("label_smoothing: 0.1", "label_smoothing: 0"), root, Silence())
    load_weights(run.model, saved.weights)
    return run, peer


def compare_curves(run: Any, peer: torch.nn.Module, steps: int) -> float:
    """Train both on the same batches in the same order; give the mean distance of their losses by the mean loss."""
    from timm.optim import create_optimizer_v2

    from vit_cli.data.batch import Batch
    from vit_cli.train.step import take_step
    from vit_cli.train.stop import StopFlag

    work = Work("d192", 0.0, D192, batch=16)
    batches = list(make_batches(work))
    optimizer = create_optimizer_v2(peer, opt="adamw", lr=1e-3, weight_decay=0.05)
    ours, theirs = [], []
    run.model.train()
    peer.train()
    for step in range(steps):
        images, labels = batches[step % len(batches)]
        pixels = images.add(1).mul(127.5).round().to(torch.uint8)
        numbers = torch.arange(len(labels))
        result = take_step(run, Batch(pixels, labels, numbers, numbers), step, StopFlag())
        ours.append(result.loss.item())
        for group in optimizer.param_groups:
            group["lr"] = run.plan.lr_at(step)
        loss = torch.nn.functional.cross_entropy(peer(images), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        theirs.append(loss.item())
    return mean_distance(ours, theirs)


def mean_distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Give the mean distance of two curves as a share of their mean."""
    a, b = np.array(ours), np.array(theirs)
    return float(np.abs(a - b).mean() / b.mean())

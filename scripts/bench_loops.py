"""The two training loops that the benchmarks compare: the shipped one, and timm's parts in a loop like its train.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from scripts.bench_arms import Figures
from vit_cli.train.progress import Silence, Tick

if TYPE_CHECKING:
    from vit_cli.train.wire import Run

CPU = torch.device("cpu")
Item = TypeVar("Item")


class Stopwatch(Silence):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tick(self, tick: Tick) -> None:
        self.ends.append(time.perf_counter())


def wire_ours(text: str, root: Path, progress: Silence, device: torch.device = CPU) -> Run:
    """Build a run from the text of a recipe, as `vit train` does, in a folder of its own below `root`."""
    from vit_cli.dist.world import World
    from vit_cli.recipe.load import load_recipe
    from vit_cli.train.folder import RunFolder, make_folder
    from vit_cli.train.wire import wire

    place = Path(tempfile.mkdtemp(dir=root))
    recipe = place / "recipe.yaml"
    recipe.write_text(text)
    folder = RunFolder(place / "run")
    make_folder(folder)
    return wire(load_recipe(recipe).recipe, folder, World(0, 1, device), progress)


def train_ours(run: Run, watch: Stopwatch, warm_up: int) -> float:
    """Go through the shipped loop; give images per second after the first `warm_up` steps."""
    from vit_cli.train.loop import run_loop
    from vit_cli.train.state import TrainState
    from vit_cli.train.stop import StopFlag

    run_loop(run, TrainState(), StopFlag())
    run.writer.wait()  # a program that ends in the midst of its last checkpoint may crash
    return rate(watch.ends, run.plan.batch_size, warm_up)


def rate(ends: Sequence[float], batch: int, warm_up: int) -> float:
    """Give images per second, from when each step ended."""
    return batch * (len(ends) - warm_up) / (ends[-1] - ends[warm_up - 1])


def endless(epochs: Iterable[Item]) -> Iterator[Item]:
    """Go through a loader again and again."""
    while True:
        yield from epochs


def peer_precision(precision: str) -> Callable[[], Any]:
    """Give what timm's `--amp --amp-dtype bfloat16` does on a CPU, or nothing for float32."""
    return (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if precision == "bf16" else nullcontext


def train_peer(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    precision: str,
    classes: int,
    steps: int,
    warm_up: int,
    averaged: nn.Module | None = None,
) -> float:
    """Do per step what timm's train.py does: mix, forward, loss with its wait, backward, clip, AdamW; give images per second.

    `averaged` is the model below a compiled one, if an average of its weights is kept too.
    """
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter, ModelEmaV3, dispatch_clip_grad

    amp = peer_precision(precision)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=classes)
    ema = None if averaged is None else ModelEmaV3(averaged, decay=0.9999)
    loss_fn, losses, size = SoftTargetCrossEntropy(), AverageMeter(), 0
    ends: list[float] = []
    model.train()
    for images, targets in endless(loader):
        size = images.size(0)
        images, targets = mixup(images.clone(), targets)
        with amp():
            loss = loss_fn(model(images), targets)
        losses.update(loss.item(), size)
        loss.backward()
        dispatch_clip_grad(model.parameters(), value=1.0, mode="norm")
        optimizer.step()
        if ema is not None:
            ema.update(averaged, step=len(ends))
        optimizer.zero_grad()
        ends.append(time.perf_counter())
        if len(ends) == warm_up + steps:
            break
    return rate(ends, size, warm_up)


def evaluate_peer(model: nn.Module, folder: Path, batch: int, precision: str) -> float:
    """Judge a model on the photos of class folders with what timm's validate.py does per batch; give images per second."""
    return judge_peer(model, folder, batch, precision, workers=1)["rate"]


def judge_peer(model: nn.Module, folder: Path, batch: int, precision: str, workers: int) -> Figures:
    """Do the same with so many loader workers; give images per second, the loss and top-1 in per cent."""
    from timm.data import create_dataset, create_loader
    from timm.utils import AverageMeter, accuracy

    photos = create_dataset("", root=str(folder.parent), split=folder.name, is_training=False)
    loader = create_loader(
        photos, input_size=(3, 224, 224), batch_size=batch, is_training=False, crop_pct=0.875, interpolation="bicubic",
        mean=(0.5,) * 3, std=(0.5,) * 3, device=CPU, num_workers=workers,
    )  # fmt: skip
    amp = peer_precision(precision)
    model.eval()
    begin, seen, losses, top1 = time.perf_counter(), 0, AverageMeter(), AverageMeter()
    with torch.inference_mode():
        for images, targets in loader:
            with amp():
                logits = model(images)
                losses.update(torch.nn.functional.cross_entropy(logits, targets).item(), len(images))
            top1.update(accuracy(logits, targets, topk=(1, 5))[0].item(), len(images))
            seen += len(images)
    return {"rate": seen / (time.perf_counter() - begin), "loss": losses.avg, "top1": top1.avg}

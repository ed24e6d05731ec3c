"""One arm of scripts/bench_gpu.py: steps on batches that lie on the device, then the trainer's loop around them."""

from __future__ import annotations

import importlib
import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scripts.bench_arms import Figures
from scripts.bench_gpu_works import CLASSES, Arm, Extent, Work
from scripts.bench_loops import Stopwatch, wire_ours

if TYPE_CHECKING:
    from vit_cli.data.batch import Batch
    from vit_cli.train.wire import Run

BATCHES = 8
"""Different batches that take turns."""
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
RECIPE = """\
model: {model}
data:
  train: {{name: synthetic, classes: {classes}, images: {images}, size: 8}}
  val: {{name: synthetic, classes: {classes}, images: {classes}, size: 8}}
  workers: 0
  cache: none
loss: {{name: cross_entropy, label_smoothing: 0.1}}
optim: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
train:
  {{steps: 1000000, batch_size: {batch}, clip_norm: 1.0, precision: {precision}, compile: {compile}, graph: "{graph}",
    ema: {{decay: 0.9999, warmup: false}}}}
eval: {{every: 1000000 steps}}
save: {{every: 1000000 steps}}
"""
Step = Callable[[int], object]
"""Makes step number n."""


def measure_arm(work: Work, arm: Arm, extent: Extent, device: torch.device, root: Path) -> Figures:
    """Time an arm in this process: steps (L0), the loop (L1), memory, and the time to the end of the first step."""
    importlib.import_module("vit_cli.train.loop" if arm.is_ours else "timm")  # it is not what is timed
    begin = time.perf_counter()
    take = Ours(work, arm, device, root) if arm.is_ours else Peer(work, arm, device)
    take.step(0)
    synchronise(device)
    figures = {"first_step_seconds": time.perf_counter() - begin}
    with watched_gpu(figures):
        figures |= time_steps(take.step, work.batch, extent, device)
        count = max(extent.warm_up, round(extent.seconds * figures["step_img_s"] / work.batch))
        figures["loop_img_s"] = take.loop(extent.warm_up, count)
    figures["gemm_tflops"] = measure_products(device)
    figures["mfu"] = figures["step_img_s"] * work.flops / figures["gemm_tflops"] / 1e12
    figures["parameters"] = take.parameters
    return figures


class Ours:
    """The shipped step and loop, as `wire` builds them, on batches that lie on the device."""

    def __init__(self, work: Work, arm: Arm, device: torch.device, root: Path) -> None:
        self.watch = Stopwatch()
        graph = arm.graph if device.type == "cuda" else "off"
        text = RECIPE.format(
            model=work.section, classes=CLASSES, images=max(CLASSES, work.batch), batch=work.batch,
            precision=work.precision, compile="blocks" if arm.compile else "off", graph=graph,
        )  # fmt: skip
        self.run: Run = wire_ours(text, root, self.watch, device)
        self.batches = [batch_of(images, labels) for images, labels in make_batches(work, device)]
        self.parameters = sum(parameter.numel() for parameter in self.run.parameters)

    def step(self, number: int) -> object:
        """Make a step."""
        from vit_cli.train.stop import StopFlag

        return self.run.take_step(self.run, self.batches[number % BATCHES], number, StopFlag())

    def loop(self, warm_up: int, count: int) -> float:
        """Go through the shipped loop; give images per second after the warm-up."""
        from vit_cli.train.loop import run_loop
        from vit_cli.train.state import TrainState
        from vit_cli.train.stop import StopFlag

        batches = list(itertools.islice(itertools.cycle(self.batches), warm_up + count))
        run = replace(self.run, input=replace(self.run.input, train=lambda _: batches))
        run_loop(run, TrainState(), StopFlag())
        return rate(self.watch.ends, run.plan.batch_size, warm_up)


class Peer:
    """timm's model, loss, optimiser and average, put together as its train.py does with --amp --amp-dtype bfloat16."""

    def __init__(self, work: Work, arm: Arm, device: torch.device) -> None:
        from timm import create_model
        from timm.layers import DropPath, set_fast_norm
        from timm.loss import LabelSmoothingCrossEntropy
        from timm.optim import create_optimizer_v2
        from timm.scheduler import create_scheduler_v2
        from timm.utils import ModelEmaV3

        is_max = arm.compile.startswith("max")
        set_fast_norm(is_max)
        model = create_model(work.name, num_classes=CLASSES, drop_path_rate=work.drop_path, **work.sizes).to(device)
        for block in model.blocks if work.drop_path else ():  # constant, as DeiT III has it
            block.drop_path1, block.drop_path2 = DropPath(work.drop_path), DropPath(work.drop_path)
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        fused = {"fused": True} if is_max else {}
        self.optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, **fused)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer, num_epochs=300, updates_per_epoch=1000, step_on_epochs=False
        )
        self.ema = ModelEmaV3(model, decay=0.9999)
        self.model = torch.compile(model, mode=arm.compile) if arm.compile else model
        self.loss = LabelSmoothingCrossEntropy(0.1)
        is_bf16 = work.precision == "bf16"
        self.autocast = (lambda: torch.autocast(device.type, torch.bfloat16)) if is_bf16 else nullcontext
        self.batches, self.batch = list(make_batches(work, device)), work.batch
        shape = (1, 3, 1, 1)
        self.mean, self.std = (torch.tensor(v, device=device).view(shape) * 255 for v in (MEAN, STD))
        self.model.train()

    def step(self, number: int) -> Tensor:
        """Make a step; normalisation is that of timm's prefetcher."""
        from timm.utils import dispatch_clip_grad

        images, targets = self.batches[number % BATCHES]
        images = images.to(torch.float32).sub_(self.mean).div_(self.std)
        with self.autocast():
            loss: Tensor = self.loss(self.model(images), targets)
        loss.backward()
        dispatch_clip_grad(self.model.parameters(), value=1.0, mode="norm")
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model, step=number)
        return loss

    def loop(self, warm_up: int, count: int) -> float:
        """Do around a step what train.py does: read the loss of each, average it, move the learning rate."""
        from timm.utils import AverageMeter

        losses, ends = AverageMeter(), []
        for number in range(warm_up + count):
            losses.update(self.step(number).item(), self.batch)
            self.scheduler.step_update(num_updates=number + 1, metric=losses.avg)
            ends.append(time.perf_counter())
        return rate(ends, self.batch, warm_up)


def make_batches(work: Work, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Make batches of noise on the device: images (b, 3, r, r) uint8, labels (b,)."""
    random = torch.Generator(device).manual_seed(0)
    for _ in range(BATCHES):
        shape = (work.batch, 3, work.res, work.res)
        noise = torch.randn(shape, generator=random, device=device) * 64 + 128
        labels = torch.randint(0, CLASSES, (work.batch,), generator=random, device=device)
        yield noise.clamp(0, 255).to(torch.uint8), labels


def batch_of(images: Tensor, labels: Tensor) -> Batch:
    """Give a batch as our input path does."""
    from vit_cli.data.batch import Batch

    return Batch(images, labels, *(torch.zeros(len(labels), dtype=torch.int64) for _ in range(2)))


def time_steps(step: Step, batch: int, extent: Extent, device: torch.device) -> Figures:
    """Time steps for about `extent.seconds`, with no wait among them; memory and compiled graphs are counted too."""
    from torch._dynamo.utils import counters

    for number in range(extent.warm_up):
        step(number)
    synchronise(device)
    begin = time.perf_counter()
    for number in range(extent.warm_up):
        step(number)
    synchronise(device)
    count = max(extent.warm_up, round(extent.seconds * extent.warm_up / (time.perf_counter() - begin)))
    graphs = counters["stats"]["unique_graphs"]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    marks = [mark(device)]
    for number in range(count):
        step(number)
        marks.append(mark(device))
    synchronise(device)
    spans = sorted(span(*pair) for pair in itertools.pairwise(marks))
    figures = {
        "step_img_s": batch * count / span(marks[0], marks[-1]),
        "step_ms_p50": 1000 * statistics.median(spans),
        "step_ms_p95": 1000 * spans[int(0.95 * len(spans))],
        "steps": count,
        "recompiled": counters["stats"]["unique_graphs"] - graphs,
    }
    if device.type == "cuda":
        figures["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        figures["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
    return figures


def rate(ends: Sequence[float], batch: int, warm_up: int) -> float:
    """Give images per second, from when each step ended."""
    return batch * (len(ends) - warm_up) / (ends[-1] - ends[warm_up - 1])


def mark(device: torch.device) -> Any:
    """Note the time: on the device where that is a GPU."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def span(begin: Any, end: Any) -> float:
    """Give the seconds between two marks."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_products(device: torch.device) -> float:
    """Measure the device's own ceiling: TFLOP/s of products of two large random matrices in bf16."""
    side, repeats = (8192, 20) if device.type == "cuda" else (256, 3)
    a, b = torch.randn(2, side, side, device=device, dtype=torch.bfloat16).unbind()
    seconds = seconds_of(lambda: a @ b, repeats, device)
    return 2 * side**3 / seconds / 1e12


def seconds_of(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Time a call: the median of `repeats`, after as many that are not counted."""
    for _ in range(repeats):
        call()
    marks = [mark(device)]
    for _ in range(repeats):
        call()
        marks.append(mark(device))
    synchronise(device)
    return statistics.median(span(*pair) for pair in itertools.pairwise(marks))


@contextmanager
def watched_gpu(figures: Figures) -> Iterator[None]:
    """Add the GPU's clock, power and temperature during the block, medians of a look each second; nothing without one."""
    words = [
        "nvidia-smi",
        "--query-gpu=clocks.sm,power.draw,temperature.gpu",
        "--format=csv,noheader,nounits",
        "-l",
        "1",
    ]
    look = None
    with suppress(OSError):
        look = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield
    finally:
        if look is not None:
            look.terminate()
            seen = [line.split(",") for line in look.communicate()[0].splitlines() if line.count(",") == 2]
            for name, values in zip(("sm_mhz", "watts", "celsius"), zip(*seen, strict=True), strict=False):
                with suppress(ValueError):
                    figures[name] = statistics.median(map(float, values))

"""What scripts/bench_input.py adds on a GPU: the rate into ViT-S/16 and ViT-B/16, its waiting, the time of augmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from scripts.bench_arms import Fact
from scripts.bench_input_ours import POLICY, RECIPE, sources
from scripts.bench_input_works import Place, Work
from scripts.bench_loops import Stopwatch, train_ours, wire_ours

if TYPE_CHECKING:
    from vit_cli.data.batch import Batch
    from vit_cli.train.wire import Run

WORK = Work("cuda", 0.0, "train", augment_on="device", policy=True, batch=256, precision="bf16")


class GpuExtent(NamedTuple):
    """What is measured on a GPU: names and sizes of models, images of a batch, steps, and calls of a part of one."""

    sizes: Mapping[str, str] = {"vit_s16": "size: small", "vit_b16": "size: base"}
    batch: int = 256
    warm_up: int = 20
    steps: int = 100
    calls: int = 20


FULL_GPU, SMOKE_GPU = GpuExtent(), GpuExtent({"vit_mu": "size: mu"}, 8, 2, 4, 2)


def measure_gpu(
    place: Place, device: torch.device = torch.device("cuda", 0), extent: GpuExtent = FULL_GPU
) -> Iterator[Fact]:
    """Train on photos with all workers that `auto` chooses, and look at the GPU; raises RuntimeError without one."""
    for name, size in extent.sizes.items():
        watch = Stopwatch()
        run = wire_ours(write_recipe(size, place, extent), place.root, watch, device)
        sustained = train_ours(run, watch, extent.warm_up)
        batch = run.input.first_batch().to(device)
        alone = 1000 * len(batch) / milliseconds(step_on(run, batch), extent.calls)
        augmented = milliseconds(partial(run.input.finish, batch), extent.calls)
        yield Fact(name=f"{name}_sustained", unit="img/s", ours=round(sustained, 1))
        yield Fact(name=f"{name}_waiting", unit="share of time", ours=round(max(0.0, 1 - sustained / alone), 3))
        yield Fact(name=f"{name}_augment", unit=f"ms per batch of {len(batch)}", ours=round(augmented, 3))


def write_recipe(size: str, place: Place, extent: GpuExtent) -> str:
    """Write the recipe of a training run at 224 pixels, with RandAugment and erasing on the device."""
    train, val = sources(WORK, place)
    return RECIPE.format(
        model=f"{{name: vit, {size}, patch: 16, res: 224}}", train=train, val=val, workers="auto", cache="none",
        augment_on=WORK.augment_on, policy=POLICY, mix="{mixup: 0.8, cutmix: 1.0}", steps=extent.warm_up + extent.steps,
        batch=extent.batch, precision=WORK.precision,
    )  # fmt: skip


def step_on(run: Run, batch: Batch) -> Callable[[], object]:
    """Give the function that trains on a batch that is on the device already: what a step takes if it never waits for images."""
    from vit_cli.train.stop import StopFlag

    return lambda: run.take_step(run, batch, 0, StopFlag())


def milliseconds(call: Callable[[], object], calls: int) -> float:
    """Time a call on the device: the mean of many, after as many that are not counted."""
    begin = 0.0
    for number in range(2 * calls):
        if number == calls:
            wait()
            begin = time.perf_counter()
        call()
    wait()
    return 1000 * (time.perf_counter() - begin) / calls


def wait() -> None:
    """Wait until a GPU has done what it was asked."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()

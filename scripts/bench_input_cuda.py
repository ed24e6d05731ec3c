"""What scripts/bench_input.py adds on a GPU: the rate into ViT-S/16 and ViT-B/16, its waiting, the time of augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypedDict

import torch

from scripts.bench_input_ours import POLICY, RECIPE, sources
from scripts.bench_input_works import Place, Work
from scripts.bench_loops import Stopwatch, train_ours, wire_ours

if TYPE_CHECKING:
    from vit_cli.data.batch import Batch
    from vit_cli.train.wire import Run

SIZES = {"small": "vit_s16", "base": "vit_b16"}
WORK = Work("cuda", 0.0, "train", augment_on="device", policy=True, batch=256, precision="bf16")
WARM_UP, STEPS, CALLS = 20, 100, 20


class Fact(TypedDict):
    """A figure without a peer."""

    name: str
    unit: str
    ours: float


def measure_gpu(place: Place) -> Iterator[Fact]:
    """Train on photos with all workers that `auto` chooses, and look at the GPU; raises RuntimeError without one."""
    device = torch.device("cuda", 0)
    for size, name in SIZES.items():
        watch = Stopwatch()
        run = wire_ours(write_recipe(size, place), place.root, watch, device)
        sustained = train_ours(run, watch, WARM_UP)
        batch = run.input.first_batch().to(device)
        alone = 1000 * len(batch) / milliseconds(step_on(run, batch))
        augmented = milliseconds(lambda run=run, batch=batch: run.input.finish(batch))
        yield Fact(name=f"{name}_sustained", unit="img/s", ours=round(sustained, 1))
        yield Fact(name=f"{name}_waiting", unit="share of time", ours=round(max(0.0, 1 - sustained / alone), 3))
        yield Fact(name=f"{name}_augment", unit=f"ms per batch of {len(batch)}", ours=round(augmented, 3))


def write_recipe(size: str, place: Place) -> str:
    """Write the recipe of a training run at 224 pixels, with RandAugment and erasing on the device."""
    train, val = sources(WORK, place)
    return RECIPE.format(
        model=f"{{name: vit, size: {size}, patch: 16, res: 224}}", train=train, val=val, workers="auto", cache="none",
        augment_on=WORK.augment_on, policy=POLICY, mix="{mixup: 0.8, cutmix: 1.0}", steps=WARM_UP + STEPS,
        batch=WORK.batch, precision=WORK.precision,
    )  # fmt: skip


def step_on(run: Run, batch: Batch) -> Callable[[], object]:
    """Give the function that trains on a batch that is on the device already: what a step takes if it never waits for images."""
    from vit_cli.train.stop import StopFlag

    return lambda: run.take_step(run, batch, 0, StopFlag())


def milliseconds(call: Callable[[], object]) -> float:
    """Time a call on the device: the mean of many, after some that are not counted."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for number in range(2 * CALLS):
        if number == CALLS:
            begin.record()
        call()
    end.record()
    torch.cuda.synchronize()
    elapsed: float = begin.elapsed_time(end) / CALLS
    return elapsed

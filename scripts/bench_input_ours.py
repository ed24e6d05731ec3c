"""Our arm of scripts/bench_input.py: a recipe, the input that `wire` builds from it, and what the loop does with a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from scripts.bench_arms import Figures, watch
from scripts.bench_input_works import FEEDERS, WARM_UP, Extent, Place, Work
from scripts.bench_loops import Stopwatch, train_ours, wire_ours
from vit_cli.train.progress import Silence

if TYPE_CHECKING:
    from vit_cli.data.batch import Batch
    from vit_cli.train.wire import Run

SPARE = 8
"""Batches that nobody takes, so that the workers are still at work when the last one is timed."""

RECIPE = """\
model: {model}
data:
  train: {train}
  val: {val}
  workers: {workers}
  cache: {cache}
  augment_on: {augment_on}
augment:
  - {{name: random_resized_crop, scale: [0.08, 1.0], interpolation: bicubic}}
  - {{name: flip}}
{policy}
mix: {mix}
loss: {{name: cross_entropy, label_smoothing: 0.1}}
optim: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
train: {{steps: {steps}, batch_size: {batch}, clip_norm: 1.0, precision: {precision}}}
eval: {{every: {steps} steps, batch_size: {batch}, crop: 0.875, interpolation: bicubic}}
track: {{log_every: 50 steps}}
"""

POLICY = """\
  - {name: randaugment, ops: 2, magnitude: 9, bins: 11, interpolation: bilinear, fill: 128}
  - {name: random_erasing, prob: 0.25, mode: pixel, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
"""

TINY, TRAINED = (
    "{{name: vit, width: 32, depth: 1, heads: 2, patch: {patch}, res: {res}}}",
    "{{name: vit, size: tiny, patch: {patch}, res: {res}, gelu: exact}}",
)


def measure_ours(work: Work, place: Place, extent: Extent) -> Figures:
    """Measure the shipped path at one work."""
    if work.measures == "train":
        stopwatch = Stopwatch()
        run = wire_ours(write_recipe(work, place, WARM_UP + extent.steps), place.root, stopwatch)
        return {"train": train_ours(run, stopwatch, WARM_UP)}
    batches = extent.batches_of(work)
    run = wire_ours(write_recipe(work, place, WARM_UP + batches + SPARE), place.root, Silence())
    source = run.input.judged if work.judged else run.input.batches(0)
    return watch(taken(run, source), WARM_UP, batches)


def taken(run: Run, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Do with each batch what a step does before the model sees it."""
    for batch in batches:
        run.prepare(run.input.finish(batch.to(run.world.device)).images)
        yield batch


def write_recipe(work: Work, place: Place, steps: int) -> str:
    """Write the recipe of a work."""
    train, val = sources(work, place)
    resident = work.source == "cifar"
    model = (TRAINED if work.measures == "train" else TINY).format(patch=4 if resident else 16, res=work.res)
    return RECIPE.format(
        model=model,
        train=train,
        val=val,
        workers={"wall": FEEDERS, "train": "auto"}.get(work.measures, 1),
        cache="auto" if resident else "none",
        augment_on=work.augment_on,
        policy=POLICY if work.policy else "",
        mix="{mixup: 0.8, cutmix: 1.0}" if work.measures == "train" else "{}",
        steps=steps,
        batch=work.batch,
        precision=work.precision,
    )


def sources(work: Work, place: Place) -> tuple[str, str]:
    """Name the images to train on and those to judge by."""
    if work.source == "cifar":
        train, test = place.cifar / "train-*.parquet", place.cifar / "test-*.parquet"
        return f"{{name: hf, path: '{train}'}}", f"{{name: hf, path: '{test}', split: 'test[:128]'}}"
    val = f"{{name: folder, root: '{place.photos}', split: val}}"
    if work.source == "pack":
        return f"{{name: shards, path: '{place.pack}'}}", val
    return f"{{name: folder, root: '{place.large if work.source == 'large' else place.photos}', split: train}}", val

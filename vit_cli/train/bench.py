"""How fast a model trains and answers on this machine: the shipped step, fed with random images that are on the device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from vit_cli import __version__
from vit_cli.augment.mix import NoMix
from vit_cli.data.batch import Batch
from vit_cli.device import autocast, describe_device
from vit_cli.dist.world import World
from vit_cli.metrics.names import WORDS
from vit_cli.models.dense import packing
from vit_cli.section import as_grid
from vit_cli.train.course import explaining_memory
from vit_cli.train.folder import RunFolder
from vit_cli.train.input import as_it_is
from vit_cli.train.measure import Timing, measure_peak, time_calls, time_once
from vit_cli.train.progress import Progress, Silence
from vit_cli.train.stop import StopFlag
from vit_cli.train.subject import Subject, adapt, make_splits, name_classes
from vit_cli.train.trial import describe_cost
from vit_cli.train.wire import Run, wire

BATCHES = 2
"""Batches on the device, which take turns."""
LEAST_CALLS, LEAST_ANSWERS = 3, 20


def run_bench(subject: Subject, world: World, seconds: float, progress: Progress) -> dict[str, Any]:
    """Measure latency, inference, training and the device's peak, each for about so many seconds; `--json` has the result."""
    recipe = adapt(subject, world)
    classes, source = name_classes(subject)
    with TemporaryDirectory() as scratch:
        opened = make_splits(recipe, classes)
        run = wire(recipe, RunFolder(Path(scratch)), world, Silence(), opened=opened)
        with explaining_memory(run):
            return describe(run, subject, source) | measure(run, seconds, progress)


def measure(run: Run, seconds: float, progress: Progress) -> dict[str, Any]:
    """Measure what needs least memory first, so that the peak so far is that of each."""
    progress.note(f"measuring for about {4 * seconds:.3g} s, and some to warm up")
    latency = measure_latency(run, seconds)
    inference = measure_inference(run, seconds)
    training = measure_training(run, seconds)
    peak = measure_peak(run.world, run.precision, seconds)
    cost = describe_cost(run)
    for part, flops in ((inference, "flops_per_image"), (training, "training_flops_per_image")):
        part["mfu"] = part["images_per_second"] * cost[flops] / peak
    return {**cost, "latency": latency, "inference": inference, "training": training, "matrix_flops_per_second": peak}


def measure_training(run: Run, seconds: float) -> dict[str, Any]:
    """Time the shipped step; the first one, in which torch compiles what is to be compiled, stands alone."""
    stop, numbers, losses = StopFlag(), count(), list[Tensor]()

    def step(batch: Batch) -> None:
        losses[:] = [run.take_step(run, batch, next(numbers), stop).loss]

    batches = [make_batch(run, number) for number in range(BATCHES)]
    first = time_once(step, batches[0], run.world.device)
    timing = time_calls(step, cycle(batches), run.world, seconds, least=LEAST_CALLS)
    return {
        **describe_timing(timing, run.plan.batch_size),
        "memory_gib": run.memory_gib(),
        "first_step_seconds": first,
        "compile_seconds": max(first - timing.median, 0.0) if count_graphs() else None,
        "loss": losses[0].item(),
    }


def measure_inference(run: Run, seconds: float) -> dict[str, Any]:
    """Time the forward pass of an evaluation, in batches as an evaluation has them, without its scores."""
    size = min(run.recipe.eval.batch_size or run.plan.micro_batch, run.plan.process_batch)
    inputs = [draw_images(run, size, number) for number in range(BATCHES)]
    timing = time_answers(run, inputs, seconds, least=LEAST_CALLS)
    return describe_timing(timing, size * run.world.size) | {"memory_gib": run.memory_gib()}


def measure_latency(run: Run, seconds: float) -> dict[str, Any]:
    """Time the answers to single images, from pixels on the device to logits; each is complete before the next begins."""
    inputs = [draw_images(run, 1, number) for number in range(BATCHES)]
    timing = time_answers(run, inputs, seconds, least=LEAST_ANSWERS, waits=True)
    return {"p50_ms": 1e3 * timing.median, "p95_ms": 1e3 * timing.quantile(0.95), "calls": len(timing.seconds)}


def time_answers(run: Run, inputs: Sequence[Tensor], seconds: float, least: int, waits: bool = False) -> Timing:
    """Time the answers to batches, in turn, as an evaluation gives them."""
    run.model.eval()
    with packing(run.model, run.world.device, run.precision):
        timing = time_calls(Answer(run), cycle(inputs), run.world, seconds, least=least, waits=waits)
    run.model.train()
    return timing


@dataclass(frozen=True)
class Answer:
    """Gives logits for uint8 images, as an evaluation does."""

    run: Run

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        with autocast(self.run.world.device, self.run.precision):
            logits: Tensor = self.run.model(self.run.prepare(images)).float()
        return logits


def make_batch(run: Run, number: int) -> Batch:
    """Make this process's part of a batch of random images, on its device."""
    plan, world = run.plan, run.world
    rows = torch.arange(world.rank * plan.process_batch, (world.rank + 1) * plan.process_batch)
    labels = torch.from_numpy(run.splits.train.labels)[rows]
    images = draw_images(run, plan.process_batch, number)
    return Batch(images, labels.to(world.device), rows, torch.full_like(rows, number))


def draw_images(run: Run, images: int, number: int) -> Tensor:
    """Draw random pixels (b, 3, rows, columns) uint8 on the device: chips draw less power, and so are faster, on zeros."""
    generator = torch.Generator().manual_seed(run.world.rank * BATCHES + number)
    shape = (images, 3, *as_grid(run.recipe.model.res))
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(run.world.device)


def describe_timing(timing: Timing, images: int) -> dict[str, Any]:
    """Give images per second, of the median call and of the slow and the fast ones, of which each is of so many images."""
    return {
        "batch_size": images,
        "images_per_second": images / timing.median,
        "images_per_second_p10": images / timing.quantile(0.9),
        "images_per_second_p90": images / timing.quantile(0.1),
        "seconds": timing.median,
        "calls": len(timing.seconds),
    }


def describe(run: Run, subject: Subject, source: str) -> dict[str, Any]:
    """Say in plain values what was measured, and on what."""
    plan, recipe, classes = run.plan, subject.recipe, run.splits.classes
    on_device = run.input.finish is not as_it_is
    return {
        "subject": subject.name,
        "model": recipe.model.name,
        "res": list(as_grid(recipe.model.res)),
        "classes": len(classes),
        "data": f"random images on the device; {len(classes):,} {WORDS[recipe.task]} ({source})",
        "augment": [item.name for item in recipe.augment] if on_device else [],
        "augment_elsewhere": bool(recipe.augment) and not on_device,
        "mix": not isinstance(run.mixer, NoMix),
        **run.objective.facts(),
        "device": describe_device(run.world.device),
        "processes": plan.processes,
        "precision": run.precision,
        "batch_size": plan.batch_size,
        "recipe_batch_size": recipe.train.batch_size,
        "process_batch": plan.process_batch,
        "micro_batch": plan.micro_batch,
        "torch": torch.__version__,
        "vit": __version__,
    }


def count_graphs() -> int:
    """Count the graphs that torch has compiled in this process."""
    compiler = sys.modules.get("torch._dynamo.utils")  # to import it takes a second or two
    return int(compiler.counters["stats"]["unique_graphs"]) if compiler else 0

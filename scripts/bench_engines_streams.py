"""The engines that scripts/bench_engines.py compares, each as one stream of batches with the state to go on from."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision.io
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as F

State = dict[str, Any]
CRASH_AFTER = 40
"""So many images a worker makes before it is killed, where that is asked for."""
BUFFER = 256
"""Entries that the streaming data set shuffles among, as in its documentation's examples."""


class Step(NamedTuple):
    """This process's part of a batch: which entries, in which pass over the data, their pixels, the state after it."""

    entries: list[int]
    images: Tensor
    state: State


@dataclass
class Job:
    """What is read: `entries` many, which repeat some JPEG files, in global batches, by process `rank` of `ranks`."""

    files: list[str]
    entries: int
    batch: int
    res: int
    workers: int
    rank: int = 0
    ranks: int = 1
    seed: int = 0
    crashes: bool = False
    owner: int = 0
    made: int = 0

    @property
    def share(self) -> int:
        """Count this process's part of a batch."""
        return self.batch // self.ranks

    def make(self, entry: int, epoch: int) -> Tensor:
        """Give an image, (3, res, res) uint8: decoded, a random part resized, flipped; a function of (seed, epoch, entry)."""
        self.made += 1
        if self.crashes and self.made > CRASH_AFTER and os.getpid() != self.owner:
            os.kill(os.getpid(), signal.SIGKILL)
        content = torchvision.io.read_file(self.files[entry % len(self.files)])
        pixels = torchvision.io.decode_image(content, torchvision.io.ImageReadMode.RGB)
        random = np.random.Generator(np.random.Philox(key=[self.seed, (epoch << 40) + entry]))
        side = int(min(pixels.shape[1:]) * random.uniform(0.5, 1))
        top, left = (int(random.integers(0, whole - side + 1)) for whole in pixels.shape[1:])
        part = F.resized_crop(pixels, top, left, side, side, [self.res, self.res], antialias=True)
        return part.flip(-1) if random.random() < 0.5 else part


Stream = Callable[[Job, State], Iterator[Step]]


class Entries(Dataset[Any]):
    """What torch's own sampler picks from."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __len__(self) -> int:
        return self.job.entries

    def __getitem__(self, entry: int) -> tuple[int, Tensor]:
        return entry, self.job.make(entry, 0)


def stream_plain(job: Job, state: State) -> Iterator[Step]:
    """Stream by torch's DataLoader with its own shuffling sampler: what the others are compared with; it has no state."""
    del state
    loader = DataLoader(Entries(job), job.share, shuffle=True, num_workers=job.workers, drop_last=True)
    while True:
        for entries, images in loader:
            yield Step(entries.tolist(), images, {})


def stream_ours(job: Job, state: State) -> Iterator[Step]:
    """Stream by torch's DataLoader with our order: a worker makes batch `step` as a whole, and the state is the step."""
    from vit_cli.data.ahead import make_batches
    from vit_cli.data.order import Order

    order = Order(job.entries, job.seed, job.batch)

    def make(step: int) -> tuple[list[int], Tensor]:
        draws = order.draws(step, job.rank * job.share, (job.rank + 1) * job.share)
        entries, epochs = draws.indices.tolist(), draws.epochs.tolist()
        return entries, torch.stack(list(map(job.make, entries, epochs)))

    first = state.get("step", 0)
    for step, (entries, images) in enumerate(make_batches(make, range(first, 2**31), job.workers), first + 1):
        yield Step(entries, images, {"step": step})


class GrainMake:
    """What Grain's workers run."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, position: int, entry: int) -> dict[str, Any]:
        torch.set_num_threads(1)
        return {"entry": entry, "image": self.job.make(entry, position // self.job.entries).numpy()}


def stream_grain(job: Job, state: State) -> Iterator[Step]:
    """Stream by Grain's map-style data sets and its elastic iterator, whose state is one number."""
    import grain
    from grain.experimental import ElasticIterator

    entries = grain.MapDataset.range(job.entries).seed(job.seed).shuffle().repeat()
    batches = ElasticIterator(
        entries.map_with_index(GrainMake(job)),
        job.batch,
        grain.sharding.ShardOptions(shard_index=job.rank, shard_count=job.ranks),
        multiprocessing_options=grain.multiprocessing.MultiprocessingOptions(num_workers=job.workers),
    )
    if state:
        batches.set_state(state)
    for made in batches:
        yield Step(made["entry"].tolist(), torch.from_numpy(made["image"]), batches.get_state())


def make_rows(rows: dict[str, list[int]], job: Job, epoch: int) -> dict[str, Any]:
    """Make the images of some rows of a table, for `datasets`."""
    return {"entry": rows["entry"], "image": [job.make(entry, epoch) for entry in rows["entry"]]}


def collate(rows: list[dict[str, Any]]) -> tuple[list[int], Tensor]:
    """Put the rows of a batch together."""
    return [row["entry"] for row in rows], torch.stack([row["image"] for row in rows])


def open_table(job: Job) -> Any:
    """Open a table in Arrow with a row for every entry."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict({"entry": np.arange(job.entries)})


def stream_hf(job: Job, state: State) -> Iterator[Step]:
    """Stream by a Hugging Face table that is shuffled anew for every epoch, under torch's DataLoader.

    `shard(contiguous=False)` deals the rows out one by one, so that what was seen is the start of the shuffled table.
    """
    from functools import partial

    table = open_table(job)
    start, seen = state.get("epoch", 0), state.get("seen", 0)
    for epoch in itertools.count(start):
        rows = table.shuffle(seed=job.seed + epoch, keep_in_memory=True)
        rest = rows.select(range(seen, job.entries)).shard(job.ranks, job.rank, contiguous=False)
        made = rest.with_transform(partial(make_rows, job=job, epoch=epoch))
        for entries, images in DataLoader(made, job.share, num_workers=job.workers, collate_fn=collate, drop_last=True):
            seen += job.batch
            yield Step(entries, images, {"epoch": epoch, "seen": seen})
        seen = 0


def stream_hf_streaming(job: Job, state: State) -> Iterator[Step]:
    """Stream by a Hugging Face iterable data set with its buffer for shuffling, and its own state."""
    from datasets.distributed import split_dataset_by_node

    rows = open_table(job).to_iterable_dataset(num_shards=8).shuffle(seed=job.seed, buffer_size=BUFFER)
    rows = split_dataset_by_node(rows, job.rank, job.ranks).map(
        lambda row: {"entry": row["entry"], "image": job.make(row["entry"], 0)}
    )
    if state:
        rows.load_state_dict(state)
    loader = DataLoader(rows, job.share, num_workers=job.workers, collate_fn=collate, drop_last=True)
    for entries, images in loader:
        yield Step(entries, images, rows.state_dict())


class Engine(NamedTuple):
    """An engine: its stream, the package it comes from, and the workers with which its state can be read."""

    name: str
    stream: Stream
    package: str
    workers: int = 2

    @property
    def version(self) -> str | None:
        """Tell the package's version, None if it is not installed."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return None


ENGINES = (
    Engine("plain DataLoader", stream_plain, "torch"),
    Engine("DataLoader with our order", stream_ours, "torch"),
    Engine("Grain", stream_grain, "grain"),
    Engine("datasets, map-style", stream_hf, "datasets"),
    Engine("datasets, streaming", stream_hf_streaming, "datasets", workers=0),
)
PLAIN = ENGINES[0].name

"""Pack images into shards: planned once, made shard by shard, and finished after any interruption."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from json import dumps
from multiprocessing import Event
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

import vit_cli
from vit_cli.data.ahead import Patience, make_batches
from vit_cli.data.decode import BadImage
from vit_cli.data.fingerprint import fingerprint
from vit_cli.data.folder import Folder
from vit_cli.data.pack_finish import collect, write_bad
from vit_cli.data.pack_shard import PARTS, PLAN, Job, PackOptions, PackPlan, Part, make_shard, read_part
from vit_cli.data.reduce import take_picture
from vit_cli.data.samples import Samples, listed, printable
from vit_cli.data.shard_index import INDEX, PackIndex
from vit_cli.data.source import Source
from vit_cli.data.targets import open_source
from vit_cli.errors import DataError, TrainingError, UsageError

LOCK = "lock"
PROBES = 64
"""Images that are packed to estimate the size of all."""
OVERHEAD = 1536
"""Bytes that a tar adds to an image: two headers, a class, and half a block on average."""
SAY_SECONDS = 10.0
PATIENCE = Patience(seconds=7 * 86_400)
"""A shard may take long; a process that dies is found at once."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Packed:
    """A finished pack, and what it took."""

    path: Path
    index: PackIndex
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Give plain values for programs."""
        made = self.index.made
        return {
            "path": str(self.path),
            "format": self.index.format,
            "images": self.index.images,
            "classes": len(self.index.classes),
            "shards": len(self.index.shards),
            "bytes": sum(shard.bytes for shard in self.index.shards),
            "bad": made.bad if made else 0,
            "fingerprint": self.index.fingerprint,
            "seconds": round(self.seconds, 2),
        }

    def describe(self) -> str:
        """Say it in a few words."""
        facts = self.facts()
        shards = f"{facts['shards']} shard{'' if facts['shards'] == 1 else 's'}"
        ones = "one" if facts["bad"] == 1 else "ones"
        bad = f", {facts['bad']} broken {ones} left out" if facts["bad"] else ""
        return (
            f"{self.path}: {facts['images']} images of {listed(self.index.classes, 'class', 'classes')} "
            f"in {shards}, {facts['bytes'] / 1e6:.1f} MB{bad}"
        )


def pack_images(
    source: Source, dest: Path, options: PackOptions, workers: int | None, max_bad: float, say: Say
) -> Packed:
    """Pack all images of a source into shards in `dest`, shuffled by the seed; the same bytes for any number of workers.

    Goes on with a pack of the same source and options that was cut short. Broken images are left out and listed in
    `bad.jsonl`. Raises DataError if more than a share `max_bad` of them is (one is always allowed, unless it is 0),
    UsageError if `dest` is anything else, TrainingError if it can't be written.
    """
    start = time.monotonic()
    if isinstance(source, Folder) and source.place.resolve() in dest.resolve().parents:
        raise UsageError(f"{dest} lies in {source.place}, whose images it would join", "Pack into a folder elsewhere.")
    samples = open_source(source, "classification")
    if not len(samples):
        raise DataError(f"{source.title} holds no image")
    try:
        with claimed(dest) as is_new, without_leftovers(dest):
            plan = make_plan(samples, options, source.title) if is_new else resume_plan(samples, options, dest)
            if is_new:
                plan.write(dest)
            make_shards(Job(samples, plan, dest, Event()), workers or count_cores(), max_bad, say)
            index = collect(dest, plan, samples.classes)
    except OSError as error:
        raise TrainingError(
            f"{dest} can't be written: {error.strerror}", "make room; the same command then goes on where it was"
        ) from error
    return Packed(dest, index, time.monotonic() - start)


@contextmanager
def claimed(dest: Path) -> Iterator[bool]:
    """Hold a folder against other processes; tell whether its plan is to be made. Raises UsageError for other folders."""
    has_plan(dest)  # so that nothing is written into other folders
    (dest / PARTS).mkdir(parents=True, exist_ok=True)
    path = dest / PARTS / LOCK
    with path.open("wb") as file:  # opened once: closing it anywhere in this process would let go
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = os.path.samestat(path.stat(), os.fstat(file.fileno()))  # who ends a pack removes the file
        except OSError:
            is_held = False
        if not is_held:
            raise UsageError(f"another process is packing into {dest}", "wait for it, or name another folder")
        yield not has_plan(dest)


def has_plan(dest: Path) -> bool:
    """Tell an unfinished pack from a folder that is new or empty. Raises UsageError for other folders."""
    others = {entry.name for entry in dest.iterdir()} - {PARTS} if dest.exists() else set[str]()
    if PLAN not in others and others:
        what = "is a finished pack" if INDEX in others else "is not empty"
        raise UsageError(f"{dest} {what}", "name a new folder")
    return PLAN in others


@contextmanager
def without_leftovers(dest: Path) -> Iterator[None]:
    """Remove half-written files, before and after."""

    def clear() -> None:
        for left in dest.rglob("*.part"):
            left.unlink(missing_ok=True)

    clear()
    try:
        yield
    finally:
        clear()


def make_plan(samples: Samples, options: PackOptions, title: str) -> PackPlan:
    """Say how many images a shard shall hold, from the size of some that are spread evenly."""
    sizes = []
    for row in np.unique(np.linspace(0, len(samples) - 1, PROBES, dtype=np.int64)).tolist():
        try:
            content, _ = take_picture(samples, row, options.short_side, options.quality, options.max_pixels)
        except BadImage:
            continue
        sizes.append(len(content) + OVERHEAD)
    per_shard = max(1, int(options.shard_bytes / np.mean(sizes))) if sizes else len(samples)
    return PackPlan(
        vit_version=vit_cli.__version__,
        source=printable(os.fsencode(title)),
        source_fingerprint=digest(samples),
        images=len(samples),
        per_shard=min(per_shard, len(samples)),
        options=options,
    )


def digest(samples: Samples) -> int:
    """Give one number for a data set, equal for equal fingerprints."""
    text = dumps(fingerprint(samples), sort_keys=True)
    return int.from_bytes(sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


def resume_plan(samples: Samples, options: PackOptions, dest: Path) -> PackPlan:
    """Read the plan of a pack that was cut short. Raises UsageError if it is of another source or has other options."""
    try:
        plan = PackPlan.model_validate_json((dest / PLAN).read_bytes())
    except ValidationError as error:
        raise UsageError(f"{dest / PLAN} is damaged", "remove the folder, or name another") from error
    differ = [
        name for name, value in options.model_dump().items() if getattr(plan.options, name) != value
    ]  # by their flags' names
    if plan.source_fingerprint != digest(samples):
        differ.append("source")
    if plan.vit_version != vit_cli.__version__:
        differ.append("version of vit")
    if differ:
        raise UsageError(
            f"{dest} is an unfinished pack, made with another {', '.join(differ)}",
            "name a new folder, or the same options",
        )
    return plan


def make_shards(job: Job, workers: int, max_bad: float, say: Say) -> None:
    """Make the shards that are not there yet, and count broken images. Raises DataError if there are too many."""
    plan = job.plan
    done = {number: part for number in range(plan.shards) if (part := read_part(job.dest, number)) is not None}
    todo = [number for number in range(plan.shards) if number not in done]
    if done:
        say(f"{len(done)} of {plan.shards} shards are there already")
    tally = Tally(plan, max_bad, say)
    for part in done.values():
        tally.add(part)
    tally.check(job.dest, done)
    tally.start()
    workers = 0 if workers == 1 else min(workers, len(todo))
    with closing(make_batches(partial(make_nth, job, todo), range(len(todo)), workers, PATIENCE)) as made:
        try:
            for number, part in zip(todo, made, strict=True):
                done[number] = whole(part)
                tally.add(done[number])
                tally.check(job.dest, done)
        finally:
            job.halt.set()


def whole(part: Part | OSError) -> Part:
    """Give a shard that is made. Raises the error if it is not."""
    if isinstance(part, OSError):
        raise part
    return part


def make_nth(job: Job, todo: Sequence[int], place: int) -> Part | OSError:
    """Make one of the shards that are to be made."""
    return make_shard(job, todo[place])


class Tally:
    """Counts shards and broken images, and tells of them now and then."""

    def __init__(self, plan: PackPlan, max_bad: float, say: Say) -> None:
        self.plan = plan
        self.allowed = max(1, int(max_bad * plan.images)) if max_bad > 0 else 0
        self.say = say
        self.shards = self.images = self.bad = self.before = 0
        self.start()

    def start(self) -> None:
        """Measure the speed from now on."""
        self.begin = self.spoken = time.monotonic()
        self.before = self.images

    def add(self, part: Part) -> None:
        """Count a shard."""
        self.shards += 1
        self.images += part.images
        self.bad += len(part.bad)
        now = time.monotonic()
        if now - self.spoken > SAY_SECONDS:
            self.spoken = now
            speed = (self.images - self.before) / (now - self.begin)
            left = (self.plan.images - self.images) / max(speed, 1e-9)
            self.say(
                f"{self.shards} of {self.plan.shards} shards, {self.images} images, {speed:.0f} images/s, "
                f"{left / 60:.0f} min left"
            )

    def check(self, dest: Path, done: dict[int, Part]) -> None:
        """Raise DataError, after writing them down, if there are too many broken images."""
        if self.bad <= self.allowed:
            return
        path = write_bad(dest, [done[number] for number in sorted(done)])
        raise DataError(
            f"{self.bad} of {self.images + self.bad} images are broken, at most {self.allowed} of {self.plan.images} may be",
            f"they are listed in {path}; mend or remove them and pack anew, or go on with a higher --max-bad",
        )


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

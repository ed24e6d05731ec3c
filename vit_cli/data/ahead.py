"""Batches made ahead by other processes, in order, with an eye on those processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vit_cli.data.batch import Batch
from vit_cli.data.decode import one_line
from vit_cli.data.slots import Slots
from vit_cli.errors import DataError
from vit_cli.memory import keep_memory

AHEAD = 2
"""So many batches a worker makes before they are asked for."""
CHECK_SECONDS = 5.0
"""How often to look whether a worker that is waited for still lives."""
GRACE_SECONDS = 60.0
"""How long a worker goes on after SIGTERM."""


def say_nothing(_text: str) -> None:
    """Keep a note to oneself."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for images: after each thirtieth of `seconds` a note tells of it, after all of them the run ends."""

    seconds: float = 1800.0
    note: Callable[[str], None] = say_nothing


class Made(Dataset[Any]):
    """What a worker runs: gives batch `number`, or the error of data that stopped it, which then travels whole.

    With `slots` it is told which of them the batch goes to.
    """

    def __init__(self, make: Callable[[Any], Any], slots: Slots | None) -> None:
        self.make = make
        self.slots = slots

    def __getitem__(self, number: Any) -> Any:
        try:
            if self.slots:
                number, slot = number
                return self.slots.fill(slot, self.make(number))
            batch = self.make(number)
            share(batch)
        except DataError as error:
            return error
        return batch


def share(batch: Any) -> None:
    """Bring a worker's images into the memory that it shares with the main process; DataError if there is too little.

    The queue would do it too, but in a thread whose errors lose the batch and leave the main process waiting for it.
    """
    if get_worker_info() is None:
        return
    with enough_shared_memory():
        for part in batch if isinstance(batch, list) else [batch]:
            if isinstance(part, Batch):
                part.share()


@contextmanager
def enough_shared_memory() -> Iterator[None]:
    """Raise DataError where torch finds too little of it."""
    try:
        yield
    except RuntimeError as error:
        raise DataError(
            f"there is too little shared memory for the batches that are made ahead: {one_line(error)}",
            "give the container more (--shm-size), or set data.workers=0",
        ) from error


def make_batches(
    make: Callable[[Any], Any],
    numbers: Sequence[Any],
    workers: int,
    patience: Patience = Patience(),
    most_bytes: int = 0,
) -> Generator[Any, None, None]:
    """Give `make(number)` for all numbers, in order, made ahead by so many processes (0: by this one, when asked).

    Each batch is made by one worker as a whole; DataLoader keeps the order and has torch use one thread in a worker. Where
    the bytes of a Batch's images are told, at most, they all come in one piece of memory.
    """
    slots = None
    if workers and most_bytes:
        with enough_shared_memory():
            slots = Slots(min(AHEAD * workers + 1, len(numbers)), most_bytes)  # one more is just being copied out
    batches = start(Made(make, slots), numbers, workers, patience)
    try:
        while (item := take(batches, workers, patience)) is not None:
            if isinstance(item, DataError):
                raise item
            yield slots.empty(item) if slots else item
    finally:
        del batches  # ends the workers now; left to the garbage collector, each takes 5 s to end


def take(batches: Iterator[Any], workers: int, patience: Patience) -> Any:
    """Take the next batch, None at the end. Raises DataError if a worker died, or none came in time."""
    begin = time.monotonic()
    noted = begin
    while True:
        try:
            return next(batches, None)
        except (RuntimeError, OSError, EOFError) as error:
            if not workers or str(error).startswith("Caught"):  # raised by what the worker ran, a bug
                raise
            reason = one_line(error)
        if "timed out" not in reason or (now := time.monotonic()) - begin > patience.seconds:
            break
        if now - noted > patience.seconds / 30:
            noted = now
            patience.note(f"has waited {now - begin:.0f} s for images; its {workers} workers are alive")
    if "timed out" in reason:
        raise DataError(
            f"no images came for {patience.seconds:.0f} s",
            "is the disk or the network gone? data.timeout sets how long to wait",
        )
    raise DataError(  # not `from error`, which would hold on to the workers
        f"a process that loads images died: {reason}",
        "most often memory ran out: lower data.workers, or give the container more shared memory (--shm-size)",
    )


def start(made: Made, numbers: Sequence[Any], workers: int, patience: Patience) -> Iterator[Any]:
    """Start the workers, without warnings about their number, and without the signal handler that DataLoader installs.

    The handler would raise the death of a worker in the midst of whatever the main process does, such as an update of
    the weights; without it, `next` finds out within seconds.
    """
    handled = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD) if handled else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader: DataLoader[Any] = DataLoader(
            made,
            batch_size=None,
            sampler=made.slots.assign(numbers) if made.slots else numbers,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            timeout=min(CHECK_SECONDS, patience.seconds / 30) if workers else 0,
            collate_fn=as_it_is,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=settle,
            generator=torch.Generator(),  # else DataLoader draws from the caller's
        )
        batches = iter(loader)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)
    return batches


def as_it_is(batch: Any) -> Any:
    """Leave a batch alone: it was put together where it was made."""
    return batch


def settle(_worker: int) -> None:
    """Prepare a worker for its work, before it makes its first batch."""
    outlast_signals()
    keep_memory()
    if parent := multiprocessing.parent_process():
        threading.Thread(target=follow, args=(parent,), name="orphan", daemon=True).start()


def follow(parent: BaseProcess) -> None:
    """End this process with the main one.

    torch has a worker look every 5 s whether its parent is still the one that it had at its first look: one whose main
    process was killed before that would stay for ever.
    """
    parent.join()
    os._exit(1)


def outlast_signals() -> None:
    """Leave signals, which often reach all processes of a job, to the main process: it finishes its step and saves.

    After SIGTERM a worker still ends by itself some time later, in case the main process can't see to it. One whose main
    process was killed ends without a word.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    show = sys.excepthook
    sys.excepthook = lambda kind, error, trace: (
        None if issubclass(kind, ConnectionError | EOFError) else show(kind, error, trace)
    )
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS))

"""Faults for tests: Python imports this file when it starts, if its folder stands on PYTHONPATH.

VIT_FAULT holds faults, parted by ";", such as `kill@point=ckpt_mid_file,rank=0,step=6` or `sleep=0.2@point=before_step,count=9`:
what happens, the point of the program, and on request the rank (else every rank), the number of finished steps before
which it does not happen (at the points of a checkpoint: the number in its name), and how many times (else once in each
process). What happens is told to the file VIT_FAULT_LOG. Without VIT_FAULT nothing is touched; a group that torchrun
restarted is spared.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.abc
import importlib.machinery
import io
import os
import pathlib
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from types import ModuleType, SimpleNamespace
from typing import Any

SIGNALS = {"kill": "SIGKILL", "term": "SIGTERM", "int": "SIGINT", "usr1": "SIGUSR1", "stop": "SIGSTOP"}


class Torn(Exception):
    """Whoever writes a file believes that it is whole."""


@dataclass
class Fault:
    """One fault, and how often it may still happen."""

    kind: str
    seconds: float
    point: str
    rank: int | None
    step: int
    left: int

    def happen(self) -> None:
        """Do to this process what the fault stands for."""
        self.left -= 1
        with pathlib.Path(os.environ["VIT_FAULT_LOG"]).open("a") as file:
            file.write(f"{self.kind}@{self.point}\n")
        if self.kind in SIGNALS:
            os.kill(os.getpid(), getattr(signal, SIGNALS[self.kind]))
        elif self.kind == "sleep":
            time.sleep(self.seconds)
        elif self.kind == "gil":
            ctypes.PyDLL(None).usleep(int(self.seconds * 1e6))  # keeps the interpreter's lock
        elif self.kind == "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif self.kind == "exc":
            raise RuntimeError("injected")
        elif self.kind == "torn_write":
            raise Torn
        elif self.kind == "draw":
            draw_everywhere()


def read_faults(text: str) -> list[Fault]:
    """Read VIT_FAULT."""
    return [read_fault(part.strip()) for part in text.split(";") if part.strip()]


def read_fault(text: str) -> Fault:
    """Read one fault; ends the process for a kind, a point or a word that is not known: Python would only note an error."""
    what, _, where = text.partition("@")
    kind, _, seconds = what.partition("=")
    words = dict(word.split("=") for word in where.split(",") if word)
    point = words.pop("point", "before_step")
    rank, step, count = words.pop("rank", None), int(words.pop("step", 0)), int(words.pop("count", 1))
    known = {*SIGNALS, "sleep", "gil", "enospc", "exc", "torn_write", "draw", "nan_loss", "nan_grad"}
    if kind not in known or point not in POINTS or words:
        raise SystemExit(f"VIT_FAULT: {text!r} is not understood")
    return Fault(kind, float(seconds or 0), point, None if rank is None else int(rank), step, count)


def due(point: str, step: int) -> Iterator[Fault]:
    """Give the faults whose time has come at a point of this process."""
    rank = int(os.environ.get("RANK", "0"))
    for fault in FAULTS:
        if fault.point == point and fault.left > 0 and fault.rank in (None, rank) and step >= fault.step:
            yield fault


def reach(point: str, step: int | None = None) -> None:
    """Let the faults of a point happen."""
    for fault in due(point, NOW.step if step is None else step):
        fault.happen()


NOW = SimpleNamespace(step=0)
"""How many steps this process has finished."""


def at_step(take_step: Callable[..., Any]) -> Callable[..., Any]:
    """`before_step`; a loss or a gradient is spoiled on this process alone, before it meets the others'."""

    @wraps(take_step)
    def wrapped(run: Any, batch: Any, step: int, *arguments: Any, **options: Any) -> Any:
        NOW.step = step
        spoilers = []
        for fault in due("before_step", step):
            fault.happen()
            if fault.kind == "nan_loss":
                spoilers.append(run.loss.register_forward_hook(lambda _module, _inputs, loss: loss * float("nan")))
            elif fault.kind == "nan_grad":
                spoilers.append(run.parameters[0].register_hook(lambda gradient: gradient * float("inf")))
        result = take_step(run, batch, step, *arguments, **options)
        for spoiler in spoilers:
            spoiler.remove()
        NOW.step = step + 1
        return result

    return wrapped


def before(function: Callable[..., Any], *, point: str) -> Callable[..., Any]:
    """A point in front of a function."""

    @wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        reach(point)
        return function(*arguments, **options)

    return wrapped


def at_batch(make: Callable[..., Any]) -> Callable[..., Any]:
    """`loader`: a training batch is about to be made, mostly by a worker, for the update after `step` finished ones."""

    @wraps(make)
    def wrapped(batches: Any, what: Any) -> Any:
        for step in what if isinstance(what, range) else (what,):
            reach("loader", step)
        return make(batches, what)

    return wrapped


def at_write(save: Callable[..., Any]) -> Callable[..., Any]:
    """`ckpt_open`, `ckpt_mid_file`, `ckpt_written`: a checkpoint's file is open and empty, half written, whole but not synced."""

    @wraps(save)
    def wrapped(content: Any, file: Any, *arguments: Any, **options: Any) -> None:
        step = step_of(getattr(file, "name", file))
        if step is None:
            return save(content, file, *arguments, **options)
        memory = io.BytesIO()
        save(content, memory, *arguments, **options)
        data = memory.getbuffer()
        reach("ckpt_open", step)
        file.write(data[: len(data) // 2])
        file.flush()
        try:
            reach("ckpt_mid_file", step)
        except Torn:
            return None
        file.write(data[len(data) // 2 :])
        file.flush()
        return reach("ckpt_written", step)

    return wrapped


def around_rename(replace: Callable[..., Any]) -> Callable[..., Any]:
    """`ckpt_before_rename` and `ckpt_after_rename`: a whole checkpoint is about to get its name, or has got it."""

    @wraps(replace)
    def wrapped(aside: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        with around(step_of(target), "ckpt_before_rename", "ckpt_after_rename"):
            return replace(aside, target)

    return wrapped


@contextmanager
def around(step: int | None, first: str, second: str) -> Iterator[None]:
    """Two points around a block, if it is about a checkpoint."""
    if step is not None:
        reach(first, step)
    yield
    if step is not None:
        reach(second, step)


def at_unlink(unlink: Callable[..., Any]) -> Callable[..., Any]:
    """`purge`: an old checkpoint is about to be removed."""

    @wraps(unlink)
    def wrapped(path: pathlib.Path, *arguments: Any, **options: Any) -> None:
        if re.fullmatch(r"step-\d+\.pt", path.name):
            reach("purge", step_of(path))
        unlink(path, *arguments, **options)

    return wrapped


def step_of(path: Any) -> int | None:
    """Read the step in the name of a checkpoint, also of one that is being written; None for other files."""
    found = re.search(r"step-(\d+)\.pt[^/]*$", os.fspath(path)) if isinstance(path, str | os.PathLike) else None
    return int(found[1]) if found else None


def draw_everywhere() -> None:
    """Draw from every generator that a program may share with whoever runs in it."""
    import random

    import numpy as np
    import torch

    random.random()
    np.random.rand()
    torch.rand(())


# Where the points lie: a function of a module, and what is put around it.
PLACES = (
    ("vit_cli.data.folder", "Folder.open", partial(before, point="scan")),
    ("vit_cli.data.loader", "TrainBatches.make", at_batch),
    ("vit_cli.data.resident", "ResidentBatches.make", at_batch),
    ("vit_cli.train.step", "take_step", at_step),
    ("vit_cli.optim.clip", "Clip.__call__", partial(before, point="after_backward")),
    ("vit_cli.metrics.score", "ScoreSheet.add", partial(before, point="val")),
    ("torch.serialization", "save", at_write),
    ("pathlib", "Path.replace", around_rename),
    ("pathlib", "Path.unlink", at_unlink),
)
POINTS = {
    *("scan", "loader", "before_step", "after_backward", "val", "purge"),
    *("ckpt_open", "ckpt_mid_file", "ckpt_written", "ckpt_before_rename", "ckpt_after_rename"),
}


def wrap(module: ModuleType) -> None:
    """Put the points of a module around its functions."""
    for name, path, around in PLACES:
        if name == module.__name__:
            *owners, last = path.split(".")
            owner: Any = module
            for part in owners:
                owner = getattr(owner, part)
            setattr(owner, last, around(getattr(owner, last)))


class Wrapper(importlib.abc.MetaPathFinder):
    """Finds the modules of PLACES as Python does, and wraps their functions when they have been imported."""

    def find_spec(self, name: str, path: Any, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Give the module's own spec, whose loader wraps; None for all other modules."""
        if all(name != place[0] for place in PLACES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_wrap(module: ModuleType) -> None:
                load(module)
                wrap(module)

            spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec


FAULTS: list[Fault] = []
if os.environ.get("VIT_FAULT") and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
    FAULTS = read_faults(os.environ["VIT_FAULT"])
    wrap(pathlib)
    sys.meta_path.insert(0, Wrapper())

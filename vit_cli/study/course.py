"""The course of a study: one run after the other, each in a folder of its own, those that are finished left alone.

Several processes may go through the same study at the same time: the lock of a run's folder says who trains it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from vit_cli.dist.world import joined
from vit_cli.errors import CheckpointError, DataError, Stopped, TrainingError, UsageError, VitError
from vit_cli.recipe.load import to_yaml
from vit_cli.study.jobs import Grid, Job
from vit_cli.study.results import forget_end, read_result, write_result
from vit_cli.train.course import Options, make_watcher, reported, train
from vit_cli.train.folder import RunFolder, clear
from vit_cli.train.keep import read_newest
from vit_cli.train.lock import InUse, find_owner, locked
from vit_cli.train.progress import Silence
from vit_cli.train.resume import take_up
from vit_cli.train.state import TrainState
from vit_cli.train.stop import StopFlag
from vit_cli.train.trial import describe_trial, make_trial
from vit_cli.train.wire import wire

TRIAL_SECONDS = 1.0


@dataclass(frozen=True)
class Finished:
    """A run that has just ended: which of how many, how long all that are left will take, and its result or what failed."""

    number: int
    total: int
    names: tuple[str, ...]
    result: Mapping[str, Any] | None
    eta_seconds: float
    failure: str = ""


class Watcher(Protocol):
    """Hears of every run of a study."""

    def __call__(self, finished: Finished) -> None:
        """Hear that a run ended."""


def make_runs_folder(out: Path) -> None:
    """Make the folder below `out` that the runs lie in; UsageError if that can't be."""
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out / 'runs'} can't be made: {error.strerror}", "Name another place with --out.") from error


def list_jobs(grid: Grid) -> dict[str, Job]:
    """Give the different jobs by digest, in the order in which they are to be done."""
    return {job.digest: job for job in grid.values()}


def find_open(jobs: Iterable[Job], needed: set[str]) -> list[Job]:
    """Give the jobs that are not done, in order; one whose weights are needed is done only while it has them."""
    return [job for job in jobs if read_done(job, keeps_weights=job.digest in needed) is None]


def read_done(job: Job, keeps_weights: bool) -> dict[str, Any] | None:
    """Give the result of a job that is done, with its weights if they are to be kept; None for another."""
    result = read_result(RunFolder(job.folder))
    has_weights = result is not None and result.get("weights", True) and job.weights.is_dir()
    return None if keeps_weights and not has_weights else result


def find_needed(jobs: Iterable[Job]) -> set[str]:
    """Give the digests of jobs whose weights others take."""
    return {need.digest for job in jobs for need in job.needs}


@dataclass(frozen=True)
class Known:
    """What one command has learned about runs, which several of its studies may share."""

    failures: dict[str, str] = field(default_factory=dict)
    """Why runs failed, by digest."""
    seen: set[str] = field(default_factory=set)
    """The digests of runs that another process trained at some time."""


class Course:
    """The runs of a study, or of a part of it: those that are done stay, and those of other processes come last."""

    def __init__(self, grid: Grid, needed: set[str], options: Options, known: Known, told: Watcher) -> None:
        self.needed, self.options, self.known, self.told = needed, options, known, told
        self.jobs = list_jobs(grid)
        self.names: dict[str, list[str]] = {}
        for (arm, (fold, seed)), job in grid.items():
            self.names.setdefault(job.digest, []).append(f"{arm}, fold {fold}, seed {seed}")
        self.waiting = find_open(self.jobs.values(), needed)
        self.clock = Costs(grid)
        self.failures: list[str] = []
        """What failed, in words."""
        self.elsewhere = ""
        """Who trains the first run of those that are waited for, in words."""

    def go_round(self) -> bool:
        """Do the jobs that no other process has; tell whether any ended.

        A run that fails, and those that need it, are left for another command. Raises Stopped after a signal: what is
        finished stays, and the run that was stopped goes on where it was.
        """
        waiting, self.waiting = self.waiting, []
        self.elsewhere = ""
        for number, job in enumerate(waiting):
            needs = {need.digest for need in job.needs}
            if needs & {other.digest for other in self.waiting}:
                self.waiting.append(job)
                continue
            try:
                self.raise_failure(job)
                result, failure = do_job(job, self.options, keeps_weights=job.digest in self.needed), ""
                self.clock.note(job, result)
            except InUse as error:
                self.waiting.append(job)
                self.known.seen.add(job.digest)
                owner = error.owner or "another process"
                self.elsewhere = self.elsewhere or f"{self.names[job.digest][0]} is trained by {owner}"
                continue
            except (CheckpointError, DataError, TrainingError) as error:
                result, failure = None, error.problem
                self.known.failures[job.digest] = failure
                self.failures.append(f"{self.names[job.digest][0]}: {failure}")
            self.tell(job, result, failure, [*self.waiting, *waiting[number + 1 :]])
        return len(self.waiting) < len(waiting)

    def raise_failure(self, job: Job) -> None:
        """Raise TrainingError if an open run, or one that it needs, has failed since the command began, here or elsewhere."""
        failed = {one.digest for one in find_open((job, *job.needs), self.needed)} & self.known.failures.keys()
        if job.digest in failed:
            raise TrainingError(self.known.failures[job.digest])
        if failed:
            raise TrainingError("a run that it needs has failed")
        if job.digest in self.known.seen and find_open([job], self.needed) and (reason := read_failure(job)):
            raise TrainingError(f"another process failed: {reason}")

    def tell(self, job: Job, result: Mapping[str, Any] | None, failure: str, left: Sequence[Job]) -> None:
        """Tell of a job that ended."""
        processes = 1 + sum(find_owner(other.folder) is not None for other in left)
        total = len(self.jobs)
        eta = self.clock.guess(left) / processes
        self.told(Finished(total - len(left), total, tuple(self.names[job.digest]), result, eta, failure))


class Costs:
    """Guesses the seconds of runs from finished ones: of the same arm, else of any."""

    def __init__(self, grid: Grid) -> None:
        self.arms = {job.digest: arm for (arm, _), job in grid.items()}
        self.seconds: dict[str, list[float]] = {}

    def note(self, job: Job, result: Mapping[str, Any]) -> None:
        """Learn from a finished run."""
        self.seconds.setdefault(self.arms[job.digest], []).append(result["wall_seconds"])

    def guess(self, jobs: Iterable[Job]) -> float:
        """Guess how long jobs take together."""
        known = {arm: fmean(values) for arm, values in self.seconds.items()}
        other = fmean(known.values()) if known else 0.0
        return sum(known.get(self.arms[job.digest], other) for job in jobs)


def do_job(job: Job, options: Options, keeps_weights: bool) -> dict[str, Any]:
    """Train one run to its end in its folder, from its newest checkpoint if there is one; give its result.

    What another process has finished meanwhile is only read. Raises InUse if another process trains it now.
    """
    begin = time.monotonic()
    folder = RunFolder(job.folder)
    folder.path.mkdir(exist_ok=True)
    with obeying(StopFlag(options.seconds, options.end)) as stop, joined(options.devices) as world, locked(folder.path):
        if done := read_done(job, keeps_weights):
            return done | {"wall_seconds": done["seconds"]}
        forget_end(folder)
        folder.checkpoints.mkdir(exist_ok=True)
        newest = read_newest(folder)
        watcher = make_watcher(Silence(), folder, world)
        run = wire(job.recipe, folder, world, watcher, resumed=newest.content["about"] if newest else None)
        state = TrainState()
        if newest:
            take_up(newest, run, state)
        else:
            clear(folder)
            folder.write_text("resolved.yaml", to_yaml(job.recipe))
        with reported(run, state, stop, options.end):
            train(run, state, stop)
        result = write_result(run, job.digest, keeps_weights)
    return result | {"wall_seconds": time.monotonic() - begin}


@contextmanager
def obeying(stop: StopFlag) -> Iterator[StopFlag]:
    """Listen to signals, and raise Stopped at the end for one that no loop was there to see."""
    try:
        with stop.listening():
            yield stop
    finally:
        if stop.was_signalled and not isinstance(sys.exc_info()[1], Stopped):
            raise Stopped(f"{stop.reason} after the last step", exit_code=stop.exit_code)


def read_failure(job: Job) -> str:
    """Give the reason why a run failed in another process; nothing if it did not."""
    status: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        status = RunFolder(job.folder).read_json("status.json")
    failed = status.get("status") == "failed" and find_owner(job.folder) is None
    return str(status.get("reason")) if failed else ""


def estimate(grid: Grid, needed: set[str], options: Options, told: Callable[[str], None]) -> dict[str, Any]:
    """Make some steps for each arm, and guess how long the runs take that are not done.

    Weights of other arms are not there yet, so a fine-tuned or distilled arm is tried without them.
    """
    waiting = {job.digest for job in find_open(list_jobs(grid).values(), needed)}
    arms: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(name for name, _ in grid):
        own = {job.digest: job for (name, _), job in grid.items() if name == arm}
        left = [job for digest, job in own.items() if digest in waiting]
        told(f"trying {arm}")
        try:
            seconds = try_job(left[0], options) if left else 0.0
        except VitError as error:
            error.problem = f"arm '{arm}': {error.problem}"
            raise
        arms[arm] = {"runs": len(own), "left": len(left), "run_seconds": seconds, "seconds": seconds * len(left)}
        waiting -= own.keys()
    return {
        "arms": arms,
        "left": sum(arm["left"] for arm in arms.values()),
        "seconds": sum(arm["seconds"] for arm in arms.values()),
    }


def try_job(job: Job, options: Options) -> float:
    """Make some steps of a run that leaves nothing behind; give the seconds that the whole of it takes."""
    recipe = job.recipe.model_copy(update={"finetune": None, "distill": None})
    with joined(options.devices) as world, TemporaryDirectory() as scratch:
        run = wire(recipe, RunFolder(Path(scratch)), world, Silence())
        seconds: float = describe_trial(run, make_trial(run, TRIAL_SECONDS))["estimated_seconds"]
        return seconds


def explain_failures(failures: list[str]) -> VitError:
    """Say which runs failed."""
    more = f"\n  and {len(failures) - 8} more" if len(failures) > 8 else ""
    return TrainingError(
        f"{len(failures)} run{'s' if len(failures) > 1 else ''} failed:\n  " + "\n  ".join(failures[:8]) + more,
        "The same command tries them again; the others stay.",
    )

"""The course of a study: one run after the other, each in a folder of its own, those that are finished left alone.

Several processes may go through the same study at the same time: the lock of a run's folder says who trains it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from vit_cli.dist.world import joined
from vit_cli.errors import CheckpointError, DataError, Stopped, TrainingError, UsageError, VitError
from vit_cli.recipe.load import to_yaml
from vit_cli.study.jobs import Grid, Job
from vit_cli.study.results import read_result, remove_result, write_result
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
LOOK_AGAIN_SECONDS = 2.0
"""Until it is asked again whether other processes have finished the runs that are left."""


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
    return None if keeps_weights and not job.weights.is_dir() else result


def find_needed(jobs: Iterable[Job]) -> set[str]:
    """Give the digests of jobs whose weights others take."""
    return {need.digest for job in jobs for need in job.needs}


class Course:
    """The runs of a study, or of a part of it: those that are done stay, and those of other processes come last."""

    def __init__(self, grid: Grid, needed: set[str], options: Options, told: Watcher) -> None:
        self.needed, self.options, self.told = needed, options, told
        self.jobs = list_jobs(grid)
        self.names: dict[str, list[str]] = {}
        for (arm, (fold, seed)), job in grid.items():
            self.names.setdefault(job.digest, []).append(f"{arm}, fold {fold}, seed {seed}")
        self.waiting = find_open(self.jobs.values(), needed)
        self.clock = Costs(grid)
        self.failures: list[str] = []
        """What failed, in words."""
        self.failed: set[str] = set()
        self.elsewhere: dict[str, InUse] = {}
        """Of runs that another process trains: which one that is."""

    def go_round(self) -> bool:
        """Do the jobs that no other process has; tell whether any ended.

        A run that fails, and those that need it, are left for another command. Raises Stopped after a signal: what is
        finished stays, and the run that was stopped goes on where it was.
        """
        waiting, self.waiting = self.waiting, []
        elsewhere, self.elsewhere = self.elsewhere, {}
        for number, job in enumerate(waiting):
            needs = {need.digest for need in job.needs}
            if needs & {other.digest for other in self.waiting}:
                self.waiting.append(job)
                continue
            try:
                if needs & self.failed:
                    raise TrainingError("a run that it needs has failed")
                if job.digest in elsewhere:
                    raise_failure(job)
                result, failure = do_job(job, self.options, keeps_weights=job.digest in self.needed), ""
                self.clock.note(job, result)
            except InUse as error:
                self.waiting.append(job)
                self.elsewhere[job.digest] = error
                continue
            except (CheckpointError, DataError, TrainingError) as error:
                self.failed.add(job.digest)
                result, failure = None, error.problem
                self.failures.append(f"{self.names[job.digest][0]}: {failure}")
            self.tell(job, result, failure, [*self.waiting, *waiting[number + 1 :]])
        return len(self.waiting) < len(waiting)

    def tell(self, job: Job, result: Mapping[str, Any] | None, failure: str, left: Sequence[Job]) -> None:
        """Tell of a job that ended."""
        processes = 1 + sum(find_owner(other.folder) is not None for other in left)
        total = len(self.jobs)
        eta = self.clock.guess(left) / processes
        self.told(Finished(total - len(left), total, tuple(self.names[job.digest]), result, eta, failure))


class Turn(Protocol):
    """What `take_turns` goes round: a study with those who hear of it."""

    @property
    def course(self) -> Course:
        """Its runs."""

    def go_round(self) -> bool:
        """Do what no other process has; tell whether any run ended."""


def take_turns(turns: Sequence[Turn], options: Options, say: Callable[[str], None]) -> None:
    """Go round all studies until nothing is left; runs of other processes are waited for after all that can be done here.

    Raises Stopped after a signal, wherever it comes.
    """
    stop = StopFlag(options.seconds, options.end)
    try:
        with stop.listening():
            turn_until_done(turns, say)
    except Stopped as error:
        if stop.reason:
            error.problem = f"{stop.reason} between two runs"
        error.hint = "Finished runs stay. The same command goes on from here."
        raise


def turn_until_done(turns: Sequence[Turn], say: Callable[[str], None]) -> None:
    """Go round, and wait a little whenever no run has ended."""
    said = ""
    while turns:
        moved = [turn.go_round() for turn in turns]
        turns = [turn for turn in turns if turn.course.waiting]
        if turns and not any(moved):
            said = tell_owner(turns, said, say)
            time.sleep(LOOK_AGAIN_SECONDS)


def tell_owner(turns: Sequence[Turn], said: str, say: Callable[[str], None]) -> str:
    """Say which process is waited for, unless that was `said` just before; give what is known by then."""
    count = sum(len(turn.course.waiting) for turn in turns)
    error = next(iter(turns[0].course.elsewhere.values()))
    if error.problem != said:
        say(f"waiting for other processes, {count} run{'s' if count > 1 else ''} left: {error.problem}; {error.hint}")
    return error.problem


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
    stop_flag = StopFlag(options.seconds, options.end)
    with stop_flag.listening() as stop, joined(options.devices) as world, locked(folder.path):
        if done := read_done(job, keeps_weights):
            return done | {"wall_seconds": done["seconds"]}
        remove_result(folder)  # whose weights are gone: with them it would count as done as soon as there are new ones
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
        result = write_result(run, job.digest)
        if not keeps_weights:
            shutil.rmtree(folder.model, ignore_errors=True)
    return result | {"wall_seconds": time.monotonic() - begin}


def raise_failure(job: Job) -> None:
    """Raise TrainingError if the process that trained a run up to now has failed."""
    status: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        status = RunFolder(job.folder).read_json("status.json")
    if status.get("status") == "failed" and find_owner(job.folder) is None:
        raise TrainingError(f"another process failed: {status.get('reason')}")


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

"""Several processes from one command: start them, pass signals on, and end as one with one message."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from vit_cli.errors import Stopped, TrainingError, UsageError, VitError

REPORTS = "VIT_REPORTS"
"""The variable that names the folder where launched processes say who they are and how they failed."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
SOON = 5.0
"""Seconds within which the launcher notices a process that died; one that it had to kill itself comes later."""


def launch_processes(devices: str) -> bool:
    """Run this very command once per process under torch's launcher; tell whether that was needed, and so is done.

    False means: go on, this is the only process or one of them. Raises the error that ended the processes.
    """
    from vit_cli.dist.launch import count_processes, run_processes
    from vit_cli.dist.place import find_place, has_launcher

    if has_launcher():
        if REPORTS in os.environ:
            Path(os.environ[REPORTS], f"{find_place().rank}.pid").write_text(str(os.getpid()))
        return False
    processes = count_processes(devices)
    if processes == 1:
        return False
    with TemporaryDirectory(prefix="vit_") as folder:
        launch = Launch(Path(folder), processes)
        with launch.listening():
            failures = run_processes(processes, sys.argv[1:], launch.folder / "torch")
        if error := launch.find_error(failures):
            raise error
    return True


class Launch:
    """So many processes under torch's elastic launcher, which say in `folder` who they are and how they failed."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.processes = processes
        self.heard = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Have the processes report to `folder`, and pass signals on to them inside the block.

        Those that load their images get none: training saves before it stops.
        """
        os.environ[REPORTS] = str(self.folder)
        heard = [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self.forward) for number in heard}
        try:
            yield
        finally:
            del os.environ[REPORTS]
            for number, handler in before.items():
                signal.signal(number, handler)

    def forward(self, number: int, _frame: FrameType | None) -> None:
        """Pass a signal on; at a second one, or before the processes can take it, have the launcher end them at once."""
        again, self.heard = bool(self.heard), number
        started = list(self.folder.glob("*.pid"))
        if again or len(started) < self.processes:
            raise stopped(number)
        for path in started:
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), number)

    def find_error(self, failures: Mapping[int, Any]) -> VitError | None:
        """Find what went wrong first: mostly the failure of one process makes the others fail.

        An error in the user's words counts before a bug, which most often is a lost connection, and so does a death
        that was noticed soon after it. A stop that nobody asked this launcher for followed from a death: with one, torch's
        launcher tells the others to end.
        """
        ends: list[tuple[float, VitError]] = []
        for path in sorted(self.folder.glob("*.json")):
            report = json.loads(path.read_text(encoding="utf-8"))
            error = VitError(report["problem"], report["hint"])
            error.exit_code = report["exit_code"]
            ends.append((report["time"] if error.exit_code == VitError.exit_code else 0.0, error))
        reported = {int(path.stem) for path in self.folder.glob("*.json")}
        deaths = [
            (failure.timestamp - SOON, died(rank, failure.exitcode))
            for rank, failure in failures.items()
            if rank not in reported and failure.exitcode != -signal.SIGTERM  # with which the launcher ends the rest
        ]
        if deaths and not self.heard:
            ends = [end for end in ends if end[1].exit_code <= 128]
        ends += deaths
        if not ends and self.heard:
            return stopped(self.heard)
        if not ends and failures:
            return died(*next((rank, failure.exitcode) for rank, failure in failures.items()))
        return min(ends, key=lambda end: end[0])[1] if ends else None


def stopped(number: int) -> Stopped:
    """Say that a signal ended the processes before they could stop by themselves."""
    return Stopped(f"stopped by {signal.Signals(number).name}", exit_code=128 + number)


def died(rank: int, exit_code: int) -> TrainingError:
    """Say that a process ended without a word."""
    how = f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"
    return TrainingError(
        f"process {rank} {how}", "Most often memory ran out: lower train.micro_batch, data.workers or data.cache."
    )


def hand_over(error: VitError) -> tuple[VitError | None, int]:
    """Give what this process, perhaps one of several, shows of its error, and its exit code.

    Processes that vit launched hand errors to the launcher, which shows one. A process that was told to stop gives 0,
    so that the launcher lets the others save. Under other launchers the first process speaks; another one only of what
    may be its own trouble.
    """
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")
    if REPORTS in os.environ:
        content = {"problem": error.problem, "hint": error.hint, "exit_code": error.exit_code, "time": time.time()}
        aside = Path(os.environ[REPORTS], f"{rank}.part")
        aside.write_text(json.dumps(content), encoding="utf-8")
        aside.replace(aside.with_suffix(".json"))
        return None, 0 if isinstance(error, Stopped) else error.exit_code
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    code = (
        0 if isinstance(error, Stopped) and restarts else error.exit_code
    )  # a stop is no failure to start again after
    if rank == "0":
        return error, code
    if isinstance(error, UsageError | Stopped):
        return None, code
    return VitError(f"process {rank}: {error.problem}", error.hint), error.exit_code


@contextmanager
def leaving_at_interrupt() -> Iterator[None]:
    """Have Ctrl-C end this process at once, with 130, where nothing of ours listens to it.

    Python would raise an exception, and where that meets torch's C++, most of all while it is imported, it aborts.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        with suppress(RuntimeError, OSError):  # a line may be half written
            sys.stdout.flush()
        kill_children()
        os._exit(128 + number)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def kill_children() -> None:
    """End the processes that loaded images, if any is left: one that hangs would keep this one waiting for it."""
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()


def end_at_once(code: object) -> None:
    """End one of several processes, whose work is on disk by now, without Python's last rites.

    In them torch's gloo threads abort the process now and then, and a finished run would look like a crash.
    """
    kill_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))

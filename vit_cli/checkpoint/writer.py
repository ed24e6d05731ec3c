"""Writing in the background, so that training goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Writer:
    """Does one job after the other in a thread; what went wrong in one comes out of the next call.

    The thread does not keep the program alive: what it leaves half written has no name yet.
    """

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Start a job, as soon as the one before it is done."""
        self.wait()
        self.thread = threading.Thread(target=self.run, args=(job,), name="writer", daemon=True)
        self.thread.start()

    def run(self, job: Callable[[], object]) -> None:
        """Do a job, and keep its error for the thread that asked for it."""
        try:
            job()
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def check(self) -> None:
        """Raise the error of the last job, if it had one; wait for nothing."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def wait(self) -> None:
        """Wait until nothing is being written. Raises the error of the last job, if it had one."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        self.check()

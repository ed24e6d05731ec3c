"""Noticing, before the processes have met, that the launcher which started this one is dead: then nobody will come."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LAUNCHER = "VIT_LAUNCHER"
"""The variable with the process id of the launcher, where it is `vit` itself."""
LOOK_SECONDS = 1.0


@contextmanager
def ending_with_launcher() -> Iterator[None]:
    """End this process at once if its launcher is dead or dies during the block, which waits for the others.

    They would be waited for until the time for it is up, while the folder of the run is nobody's. Once all have met,
    `Watch` looks after that. Under a launcher of another kind nothing is known, and nothing is done.
    """
    launcher = os.environ.pop(LAUNCHER, None)  # it is nobody's parent but this process's
    over = threading.Event()

    def look() -> None:
        while os.getppid() == int(launcher or 0):
            if over.wait(LOOK_SECONDS):
                return
        os._exit(5)  # there is nothing to save yet, and nobody to tell

    thread = threading.Thread(target=look, name="orphan", daemon=True)
    if launcher:
        thread.start()
    try:
        yield
    finally:
        over.set()

"""A headless Chromium, spoken to through two pipes in the DevTools protocol; nothing but the browser is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)

START = """
import os, sys
for number, place in zip(sys.argv[1:3], (3, 4)):
    os.dup2(int(number), place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts a program with the two pipes where Chromium expects them."""


def find_browser() -> str | None:
    """Give the path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab of a browser; `said` are the errors and warnings that its pages wrote to the console, or met."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.to_browser, self.from_browser = to_browser, from_browser
        self.left, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def read(self) -> dict[str, Any]:
        """Read one message."""
        while b"\0" not in self.left:
            part = os.read(self.from_browser, 2**20)
            assert part, "the browser has ended"
            self.left += part
        message, _, self.left = self.left.partition(b"\0")
        return json.loads(message)

    def ask(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and wait for its result."""
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        text = json.dumps({"id": self.number, "method": method, "params": params, **session})
        os.write(self.to_browser, text.encode() + b"\0")
        while (message := self.read()).get("id") != self.number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, page: Path, width: int, is_dark: bool = False) -> None:
        """Load a file in a window of this width, and wait until all of it is there."""
        height = 844 if width < 600 else 900
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def run(self, script: str) -> Any:
        """Give the value of a JavaScript expression."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    @property
    def said(self) -> list[Any]:
        """What went wrong since the page was opened."""
        bad = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed")
        return [event["params"] for event in self.events if event.get("method") in bad]

    @property
    def requested(self) -> list[str]:
        """The addresses that were asked for since the page was opened, but for those that hold what they name."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]

    def shoot(self, out_png: Path) -> None:
        """Take a picture of the whole page."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        out_png.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(path: str, profile: Path) -> Iterator[Browser]:
    """Start a browser with its files in `profile`, and end it after the block."""
    (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in (read_there, write_there)]
    os.close(read_there)
    os.close(write_there)

    command = [
        sys.executable,
        "-c",
        START,
        *map(str, theirs),
        path,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    process = subprocess.Popen(command, pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for number in theirs:
        os.close(number)
    try:
        yield Browser(write_here, read_here)
    finally:
        os.close(write_here)  # at the end of its input the browser leaves
        process.wait(timeout=20)
        os.close(read_here)

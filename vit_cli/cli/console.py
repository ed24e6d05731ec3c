"""The only console: progress and errors go to stderr, results to stdout, and nothing but plain text into a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from vit_cli.cli.layout import (
    format_facts,
    format_head,
    format_row,
    format_table,
    format_tick,
    measure_epoch,
    strip_escapes,
)
from vit_cli.document import to_json
from vit_cli.errors import VitError
from vit_cli.train.progress import Progress, Row, Silence, Tick

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

HEARTBEAT_SECONDS = 10.0
REDRAW_SECONDS = 0.2
SIGNALLED = 128
"""Exit codes from here on are those of a signal."""


def make_progress(quiet: bool, verbose: bool) -> Progress:
    """Give the watcher that suits stderr: a live bar on a terminal, plain lines elsewhere, nothing if `quiet`.

    `verbose` gives plain lines with the time in front on a terminal too.
    """
    if quiet:
        return Silence()
    return LiveProgress() if is_terminal(sys.stderr) and not verbose else PlainProgress(stamped=verbose)


class PlainProgress:
    """Progress as lines: one per evaluation, a heartbeat at most every 10 s; no carriage return, no escape codes."""

    def __init__(self, stamped: bool = False) -> None:
        self.stamped = stamped
        self.spoken = time.monotonic()
        self.epoch_width = 0

    def header(self, facts: Mapping[str, str]) -> None:
        """Show what is about to run."""
        self.say(format_facts(facts) + "\n")

    def tick(self, tick: Tick) -> None:
        """Show a heartbeat if nothing was shown for a while."""
        if time.monotonic() - self.spoken >= HEARTBEAT_SECONDS:
            self.say(f"{tick.step / tick.total_steps:4.0%}  {format_tick(tick)}")

    def row(self, row: Row) -> None:
        """Show an evaluation."""
        if not self.epoch_width:
            self.epoch_width = measure_epoch(row)
            self.say(format_head(self.epoch_width, row.scores), style="dim")
        self.say(format_row(row, self.epoch_width), style="green" if row.best else "")

    def note(self, text: str) -> None:
        """Show a line of text."""
        self.say(text)

    def end(self) -> None:
        """Leave the terminal as it was."""

    def say(self, text: str, style: str = "") -> None:  # noqa: ARG002
        """Show lines of text; a plain line has no style."""
        self.spoken = time.monotonic()
        stamp = time.strftime("%H:%M:%S  ") if self.stamped else ""
        for line in text.split("\n"):
            write(sys.stderr, (stamp + strip_escapes(line)).rstrip() + "\n")


class LiveProgress(PlainProgress):
    """Progress on a terminal: the same lines in colour, above a bar. Ticks alone draw: no thread may meet a fork."""

    def __init__(self) -> None:
        super().__init__()
        self.console = make_console()
        self.bar: Bar | None = None
        self.drawn = 0.0

    def tick(self, tick: Tick) -> None:
        """Move the bar, a few times a second."""
        if time.monotonic() - self.drawn < REDRAW_SECONDS:
            return
        self.drawn = time.monotonic()
        if self.bar is None:
            self.bar = make_bar(self.console, tick.total_steps)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=tick.step, facts=format_tick(tick), refresh=True)

    def end(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def say(self, text: str, style: str = "") -> None:
        """Show lines of text above the bar."""
        from rich.text import Text

        self.console.print(Text(strip_escapes(text), style=style), soft_wrap=True)


def make_console() -> Console:
    """Open the terminal behind stderr; rich leaves colours away if NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=True, force_terminal=is_terminal(sys.stderr))


def make_bar(console: Console, total_steps: int) -> Bar:
    """Make a bar that vanishes when it ends."""
    from rich import progress

    columns = (
        progress.BarColumn(bar_width=30),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.fields[facts]}", markup=False),
    )
    bar = progress.Progress(*columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False)
    bar.add_task("", total=total_steps, facts="")
    return bar


def show_result(text: str) -> None:
    """Show a result for people."""
    write(sys.stdout, strip_escapes(text) + "\n")


def show_json(content: object, line: bool = False) -> None:
    """Show a result for programs: a JSON document, or with `line` one of JSON lines. NaN and infinity become null.

    What the stream can't encode, or would command a terminal, is escaped in JSON's own way.
    """
    indent = None if line else 2
    text = to_json(content, indent)
    if not fits(text, sys.stdout) or strip_escapes(text) != text:
        text = to_json(content, indent, escapes=True).replace("\x7f", "\\u007f")
    write(sys.stdout, text + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show a table of results; cells that are numbers are aligned to the right, so format them before or not at all."""
    write(sys.stdout, format_table(columns, rows) + "\n")


def show_note(text: str) -> None:
    """Write a line that is no result, but about one: on stderr."""
    write(sys.stderr, strip_escapes(text) + "\n")


def show_error(error: VitError) -> None:
    """Show a failure in the user's words, and what to do about it; a stop that was asked for is no error."""
    is_asked = error.exit_code >= SIGNALLED
    head, problem = ("", error.problem[:1].upper() + error.problem[1:]) if is_asked else ("Error: ", error.problem)
    lines = strip_escapes(problem).split("\n")
    lines += [f"  {line}" for line in strip_escapes(error.hint).split("\n") if line]
    if not is_terminal(sys.stderr):
        write(sys.stderr, "\n".join([f"{head}{lines[0]}", *lines[1:]]) + "\n")
        return
    from rich.text import Text

    make_console().print(Text.assemble((head, "bold red"), "\n".join(lines)), soft_wrap=True)


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person watches `stream` on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def fits(text: str, stream: TextIO) -> bool:
    """Tell whether `stream` can encode all of `text`."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def write(stream: TextIO, text: str) -> None:
    """Write at once; what the stream can't encode (odd file names) is written as its code, what commands a terminal is not.

    If nobody reads stdout any more (`vit predict ... | head`), the program is done. If nobody reads stderr, training
    goes on in silence.
    """
    encoding = stream.encoding or "utf-8"
    text = strip_escapes(text) if stream.isatty() else text
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout:
            sys.exit(0)

"""How rows, facts and tables look as plain text, in cells of a terminal."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from vit_cli.metrics.names import SCORES
from vit_cli.train.progress import Row, Tick

BEFORE, AFTER = {"train_loss": 11, "val_loss": 8}, {"lr": 7, "img/s": 7, "wait": 5, "mem": 5, "eta": 6}
"""The columns, with their widths, before and after those of the scores."""
ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[^\n]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"  # control characters, changes of direction
)


def measure_epoch(row: Row) -> int:
    """Tell how wide the column of epochs must be in a run whose first row is `row`."""
    has_parts = "." in format_epoch(row.epoch)
    return max(6, 2 * len(format_epoch(row.epochs)) + 2 + 2 * has_parts)


def widths(scores: Iterable[str]) -> dict[str, int]:
    """Name the columns of the table, with their widths."""
    return BEFORE | {name: SCORES[name].width for name in scores} | AFTER


def format_head(epoch_width: int, scores: Iterable[str]) -> str:
    """Give the heading over the rows of `format_row`, which have these scores."""
    cells = (f"{name:>{width}}" for name, width in widths(scores).items())
    return "  ".join(["epoch".rjust(epoch_width), *cells])


def format_row(row: Row, epoch_width: int) -> str:
    """Give one evaluation as a line of the table."""
    cells = {
        "train_loss": f"{row.train_loss:.4f}",
        "val_loss": f"{row.val_loss:.4f}",
        **{name: SCORES[name].form.format(value) for name, value in row.scores.items()},
        "lr": f"{row.lr:.1e}",
        "img/s": format_rate(row.images_per_second),
        "wait": f"{row.wait:.0%}",
        "mem": f"{row.memory_gib:.1f}G",
        "eta": format_seconds(row.eta_seconds),
    }
    epoch = f"{format_epoch(row.epoch)}/{format_epoch(row.epochs)}".rjust(epoch_width)
    aligned = (f"{cells[name]:>{width}}" for name, width in widths(row.scores).items())
    return "  ".join([epoch, *aligned, *(["best"] if row.best else [])])


def format_tick(tick: Tick) -> str:
    """Give a heartbeat: how far, how fast, how long still."""
    eta = f"eta {format_seconds(tick.eta_seconds)}" if tick.eta_seconds > 0 else "eta -"
    return f"step {tick.step}/{tick.total_steps}  {tick.images_per_second:.0f} img/s  {eta}"


def format_epoch(epochs: float) -> str:
    """Write how many epochs are done: 30, 2.5, 0.04. One that ends inside a step is done a little late: 1.07 is 1."""
    text = f"{math.floor(epochs * 10 + 1e-6) / 10:.1f}" if epochs >= 1 else f"{epochs:.2g}"
    return text.removesuffix(".0")


def format_rate(images_per_second: float) -> str:
    """Write images per second: 8123, 7.5."""
    return f"{images_per_second:.0f}" if images_per_second >= 10 else f"{images_per_second:.1f}"


def format_memory(gib: float) -> str:
    """Write so many GiB: 3.10 GiB, 25 MiB."""
    return f"{gib:.2f} GiB" if gib >= 0.1 else f"{gib * 1024:.0f} MiB"


def format_seconds(seconds: float) -> str:
    """Write a length of time with its two largest units: 45s, 12m04s, 1h05m, 2d03h."""
    if not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d{hours % 24:02}h"
    if hours:
        return f"{hours}h{minutes % 60:02}m"
    return f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"


def format_facts(facts: Mapping[str, object]) -> str:
    """Lay facts out as aligned `key  value` lines; further lines of a value stand under its first."""
    width = max((cell_width(key) for key in facts), default=0)
    indent = "\n" + " " * (width + 2)
    return "\n".join(f"{pad(key, width)}  {str(value).replace(chr(10), indent)}" for key, value in facts.items())


def format_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out under aligned columns, two spaces apart; columns of numbers stand to the right."""
    table = [list(row) for row in rows]
    numeric = [bool(table) and all(isinstance(row[i], int | float) for row in table) for i in range(len(columns))]
    cells = [[strip_escapes(str(cell)).replace("\n", " ") for cell in row] for row in [columns, *table]]
    widths = [max(cell_width(row[i]) for row in cells) for i in range(len(columns))]
    lines = (
        "  ".join(pad(cell, width, right) for cell, width, right in zip(row, widths, numeric, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def pad(text: str, width: int, right: bool = False) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def cell_width(text: str) -> int:
    """Count the cells of a terminal that `text` fills: wide letters two, combining marks none."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def strip_escapes(text: str) -> str:
    """Take out what would command a terminal: escape sequences, control characters, changes of direction.

    Tabs and newlines stay.
    """
    return ESCAPES.sub("", text)

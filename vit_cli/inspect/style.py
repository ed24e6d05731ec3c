"""How every picture of the program looks; nothing of it outlives the drawing of a picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import MaxNLocator, MultipleLocator

from vit_cli.checkpoint.commit import commit

DPI = 150
EACH = 24
"""So many layers are marked one by one."""
INK, FAINT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREEN, RED, VIOLET = "#2563eb", "#ea580c", "#15803d", "#dc2626", "#7c3aed"
WORLD_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
)
RULES = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5 note"
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the program's style inside the block, whatever the user's own settings are; change nothing outside it."""
    fonts = ["DejaVu Sans", *(name for name in WORLD_FONTS if name in get_font_names())]
    with matplotlib.style.context(["default", {**RULES, "font.family": fonts}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        yield


def mark_layers(axes: Axes, count: int) -> None:
    """Mark layers from 1 to `count` along the bottom: each of a few."""
    axes.set_xlim(0.5, count + 0.5)
    axes.xaxis.set_major_locator(MultipleLocator(1) if count <= EACH else MaxNLocator(integer=True))


def save(figure: Figure, path: Path, dpi: float = DPI, notes: Mapping[str, str] | None = None) -> None:
    """Write a figure as PNG, with `notes` inside, whole or not at all; TrainingError if the place can't be written.

    Its layout is final then: to write it in another form takes no other one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    commit(path, lambda aside: figure.savefig(aside, format="png", dpi=dpi, metadata=notes))
    figure.set_layout_engine("none")


def wrap(parts: Sequence[str], limit: int, most: int) -> list[str]:
    """Lay parts out with commas in up to `most` lines of `limit` characters; "+2" counts those that found no room.

    A part that is longer than a line is shortened.
    """
    lines: list[str] = []
    for number, part in enumerate(parts):
        left = len(parts) - number - 1
        here, below = (limit - end_length(left, is_last=count == most) for count in (len(lines), len(lines) + 1))
        if lines and len(lines[-1]) + 2 + len(part) <= here:
            lines[-1] += f", {part}"
        elif len(lines) < most:
            lines[-1:] = [f"{line}," for line in lines[-1:]]
            lines.append(shorten(part, max(1, below)))
        else:
            lines[-1] += f", +{left + 1}"
            break
    return lines


def end_length(left: int, is_last: bool) -> int:
    """Count the letters that may have to end a line after which `left` parts are to come: a comma, or ", +2"."""
    return 0 if not left else len(f", +{left}") if is_last else 1


def shorten(name: str, limit: int) -> str:
    """Fit a name into one line of `limit` characters; the middle goes first, since both ends tell names apart."""
    line = " ".join(name.split())
    if len(line) <= limit:
        return line
    tail = (limit - 1) // 3
    return line[: limit - 1 - tail] + "…" + line[len(line) - tail :]

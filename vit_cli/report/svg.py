"""Figures as SVG inside a page: their colours are the page's own, light or dark, and their words are text."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

from vit_cli.inspect.style import BLUE, FAINT, GREEN, GRID, INK, ORANGE, RED, VIOLET

VARIABLES = {
    INK: "ink",
    FAINT: "faint",
    GRID: "line",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    RED: "red",
    VIOLET: "violet",
}
"""The colours of `inspect.style`, and what the page calls its own in their place (page.css)."""
COLOR = re.compile("|".join(VARIABLES))
LONG = re.compile(r"(\d+\.\d\d)\d+")
"""A number with more than the hundredths of a point."""
UNUSED = re.compile(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", re.DOTALL)


def to_svg(figure: Figure, title: str) -> str:
    """Give a figure, drawn inside `drawing()`, as an <svg> element that is as wide as its place; `title` is for the blind."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = UNUSED.sub("", text.getvalue())
    drawn = COLOR.sub(lambda found: f"var(--{VARIABLES[found[0]]})", drawn[drawn.index("<svg") :])
    drawn = re.sub(r' id="(?:figure|axes|patch|line2d|text|legend|matplotlib|[xy]tick|\w+Collection)[^"]*"', "", drawn)
    drawn = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: LONG.sub(r"\1", found[0]), drawn)
    box = re.search(r'viewBox="([^"]*)"', drawn)
    size = box[1] if box else ""
    body = re.sub(r"\s*\n\s*", "\n", drawn[drawn.index(">") + 1 :])
    return f'<svg class=chart viewBox="{size}" role="img" aria-label="{escape(title)}">{body.strip()}'

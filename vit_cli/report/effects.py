"""The plot of a study: every run as a dot, the mean of each arm, and how far arms differ, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from vit_cli.inspect.style import BLUE, FAINT, GREEN, INK, ORANGE, RED, VIOLET, drawing, save, shorten

COLORS = {"better": GREEN, "worse": RED, "undecided": FAINT}
SERIES = (BLUE, ORANGE, GREEN, VIOLET, RED)
LONGEST_TITLE, LONGEST_NAME = 100, 44
SHARE = 0.26
"""How far dots of one arm lie apart, of the room between two arms."""
FLOPS = "flops"
DODGE = 1.025
"""Dots of several series at one place stand beside each other, each so much further on the logarithmic axis."""


def draw_study(summary: Mapping[str, Any], out_png: Path) -> None:
    """Draw a summary (`vit_cli.study.summary`): scores on the left, differences with their 95 % intervals on the right.

    Arms that have a place on an axis are lines on the left, the others rows of dots.
    """
    arms = [arm for arm in summary["arms"] if arm["shown"] and arm["runs"]]
    compared = [arm for arm in arms if arm["effect"]]
    has_axis = summary["axis"] is not None and any(arm["at"] is not None for arm in arms)
    rows = max(len(compared), 7 if has_axis else len(arms))
    with drawing():
        figure = Figure(figsize=(11, 1.5 + 0.36 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
        figure.suptitle(shorten(summary["title"], LONGEST_TITLE), x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(1, 2) if compared else [figure.subplots()]
        if has_axis:
            draw_lines(panels[0], [arm for arm in arms if arm["at"] is not None], summary)
        else:
            draw_dots(panels[0], arms, summary)
        if compared:
            draw_differences(panels[1], compared, summary)
            marks = [Line2D([], [], marker="o", color=color, label=verdict) for verdict, color in COLORS.items()]
            figure.legend(handles=marks, loc="outside lower right", ncols=3)
        save(figure, out_png)


def draw_dots(axes: matplotlib.axes.Axes, arms: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    """Draw a row for each arm: its runs, those of one fold at one height, and its mean."""
    for row, arm in enumerate(arms):
        folds = sorted({run["fold"] for run in arm["runs"]})
        heights = [row + SHARE * (2 * (folds.index(run["fold"]) + 0.5) / len(folds) - 1) for run in arm["runs"]]
        color = INK if arm["name"] == summary["reference"] else BLUE
        axes.plot([run["score"] for run in arm["runs"]], heights, "o", color=color, alpha=0.35, markersize=3.5, mew=0)
        axes.plot([arm["mean"]] * 2, [row - 0.36, row + 0.36], color=color, linewidth=2.2, solid_capstyle="round")
    label_rows(axes, [arm["title"] for arm in arms])
    axes.set(title="every run, and the mean of an arm", xlabel=f"{summary['label']}, held-out images")


def draw_lines(axes: matplotlib.axes.Axes, arms: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    """Draw a line for each series, over the places of its arms."""
    names = list(dict.fromkeys(arm["series"] or "" for arm in arms))
    for number, (name, color) in enumerate(zip(names, SERIES * len(names), strict=False)):
        aside = 1.0 if summary["axis"] == FLOPS else DODGE ** (number - (len(names) - 1) / 2)
        own = sorted((arm for arm in arms if (arm["series"] or "") == name), key=lambda arm: arm["at"])
        for arm in own:
            scores = [run["score"] for run in arm["runs"]]
            axes.plot([aside * arm["at"]] * len(scores), scores, "o", color=color, alpha=0.3, markersize=3, mew=0)
        means = [arm["mean"] for arm in own]
        axes.plot([aside * arm["at"] for arm in own], means, "-o", color=color, label=name or None, markersize=5)
    axes.set_xscale("log")
    if summary["axis"] == FLOPS:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xticks(sorted({arm["at"] for arm in arms}))
        axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(
        title="every run, and the mean of an arm",
        xlabel="floating-point operations of training" if summary["axis"] == FLOPS else summary["axis"],
        ylabel=f"{summary['label']}, held-out images",
    )
    if names != [""]:
        axes.legend(loc="best")


def draw_differences(axes: matplotlib.axes.Axes, arms: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    """Draw a row for each arm that is compared: its difference, the interval, in the colour of the verdict."""
    titles = {arm["name"]: arm["title"] for arm in summary["arms"]}
    axes.axvline(0, color=INK, linewidth=1)
    for row, arm in enumerate(arms):
        effect, color = arm["effect"], COLORS[arm["verdict"]]
        if effect["low"] is not None:
            axes.plot([effect["low"], effect["high"]], [row, row], color=color, linewidth=2.4, solid_capstyle="round")
        axes.plot([effect["difference"]], [row], "o", color=color, markersize=6)
    others = list(dict.fromkeys(arm["against"] for arm in arms))
    labels = [arm["title"] if len(others) == 1 else f"{arm['title']}\nless {titles[arm['against']]}" for arm in arms]
    label_rows(axes, labels)
    against = f" to {shorten(titles[others[0]], LONGEST_NAME)}" if len(others) == 1 else ""
    unit = " (points)" if "%" in summary["label"] else ""
    axes.set(title="differences, with 95 % intervals", xlabel=f"difference{against}{unit}")


def label_rows(axes: matplotlib.axes.Axes, labels: Sequence[str]) -> None:
    """Name the rows from the top down."""
    lines = ["\n".join(shorten(line, LONGEST_NAME) for line in label.split("\n")) for label in labels]
    axes.set_yticks(range(len(labels)), lines, fontsize=8.5 if "\n" not in "".join(lines) else 7)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")

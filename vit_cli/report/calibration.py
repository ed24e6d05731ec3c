"""The reliability diagram: how often a model is right, by how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from vit_cli.inspect.style import BLUE, FAINT, RED, drawing, save
from vit_cli.metrics.calibration import BINS, Bin
from vit_cli.report.svg import to_svg

FEW = 10
"""Bins with fewer images are drawn faint: their accuracy is mostly chance."""


def draw_reliability(bins: Sequence[Bin], ece: float, out_png: Path) -> str:
    """Draw accuracy against confidence, a bar for each bin that holds images, over how many images each holds; give it as SVG."""
    line = {"color": RED, "linewidth": 2.2, "solid_capstyle": "butt"}
    with drawing():
        figure = Figure(figsize=(5.2, 5.8), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
        upper.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.2, label="perfectly calibrated")
        upper.plot([], [], label="gap to the confidence", **line)
        upper.bar([0], [0], width=0, color=BLUE, alpha=0.85, label="accuracy")
        for one in bins:
            place = {"x": one.low, "width": one.high - one.low, "align": "edge", "edgecolor": "white"}
            look = {"color": BLUE, "alpha": 0.85 if one.images >= FEW else 0.35}
            upper.bar(height=one.accuracy, **place, **look)
            upper.plot([one.confidence] * 2, [one.accuracy, one.confidence], **line)
            lower.bar(height=one.images, **place, **look)
        upper.set(
            title=f"Reliability: expected calibration error {ece:.4f}", ylabel="share that is right", ylim=(0, 1.02)
        )
        upper.legend(loc="upper left")
        lower.set(xlabel="confidence in the answer", ylabel="images (log)", xlim=(0, 1), yscale="log", ylim=(0.7, None))
        lower.yaxis.set_major_formatter("{x:,.0f}")
        lower.yaxis.set_minor_formatter(NullFormatter())  # its own writes powers as formulas where there are few images
        total = sum(one.images for one in bins)
        note = (
            "Bars below the dashed line: surer than right; above it: more often right than sure.\n"
            f"{total:,} images in {len(bins)} of {BINS} bins; bins of fewer than {FEW} images are faint."
        )
        figure.supxlabel(note, fontsize=8, color=FAINT)
        save(figure, out_png)
        return to_svg(figure, "Reliability")

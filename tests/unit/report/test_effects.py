"""The plot of a study."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from vit_cli.inspect.style import drawing
from vit_cli.report.effects import FLOPS, draw_lines


@pytest.mark.parametrize("places", [(1.2e12, 4e12), (1e9, 3e12)])
def test_operations_are_marked_in_plain_numbers(places: tuple[float, ...]) -> None:
    arms = [{"series": None, "at": at, "mean": 1.0, "runs": [{"score": 1.0}]} for at in places]
    with drawing():
        figure = Figure()
        axes = figure.add_subplot()
        draw_lines(axes, arms, {"axis": FLOPS, "label": "top-1"})
        figure.canvas.draw()
        inside = [label.get_text() for label in axes.get_xticklabels(which="both") if label.get_text()]
    assert len(inside) > 1
    assert not any("$" in text for text in inside)

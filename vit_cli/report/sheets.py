"""Sheets of images with what the model said of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.data.decode import to_pixels
from vit_cli.data.samples import Samples, printable
from vit_cli.evaluate.evaluate import Answers
from vit_cli.evaluate.saved import Ready
from vit_cli.inspect.style import wrap
from vit_cli.metrics.regression import Regression
from vit_cli.metrics.task import Answer, Task, Values
from vit_cli.report.pictures import draw_grid, fit, letters


class Picture(NamedTuple):
    """An image as the model sees it, uint8 (3, h, w), and what it is called in its data."""

    pixels: Tensor
    name: str


See = Callable[[int], Picture]
"""Gives validation image number `index`."""
WORST = 24
LINES, TARGETS, PAGE = 3, 2, 200
"""Of a caption: lines that labels may fill, targets that are told, and letters of a line where a page breaks it by itself."""


def draw_mistakes(path: Path, by: NDArray[np.floating], order: str, answers: Answers, task: Task, see: See) -> None:
    """Draw the mistakes with the largest of `by` (n,), which `order` names; where nothing is ever quite right, of all answers."""
    right = task.is_right(answers.answer)
    wrong = np.arange(len(by)) if right is None else np.flatnonzero(~right)
    chosen = wrong[np.argsort(-by[wrong], kind="stable")][:WORST].tolist()
    title = f"{len(chosen)} of {len(wrong):,} {'answers' if right is None else 'mistakes'}, {order}"
    draw_sheet(path, chosen, title, answers, task, see)


def draw_sheet(path: Path, chosen: Sequence[int], title: str, answers: Answers, task: Task, see: See) -> None:
    """Draw the chosen images with their answers, to which a page adds names; if none is chosen, an earlier sheet goes."""
    if not chosen:
        path.unlink(missing_ok=True)
        return
    right = task.is_right(answers.answer)
    pictures = [see(int(answers.indices[place])) for place in chosen]
    images = torch.stack([picture.pixels for picture in pictures])
    captions, longer = (
        [caption(answers, place, task, room) for place in chosen] for room in (measure(images[0]), PAGE)
    )
    draw_grid(
        images,
        captions,
        path,
        title=title,
        marks=None if right is None else right[list(chosen)].tolist(),
        told=[f"{words}\n{picture.name}" for words, picture in zip(longer, pictures, strict=True)],
    )


def see_sample(ready: Ready, samples: Samples, index: int) -> Picture:
    """Give image `index` as the model sees it, called by its path from the root of its data, or by its row there."""
    pixels = ready.transform(to_pixels(samples.read(index), ready.max_pixels))
    key = samples.key(index)
    name = f"row {key}" if key.isdecimal() else printable(key.encode("utf-8", "surrogateescape"))
    return Picture(pixels, name)


def measure(image: Tensor) -> int:
    """Count the letters of a line under an image (3, h, w)."""
    return letters(fit(image.permute(1, 2, 0).cpu().numpy()).shape[1])


def caption(answers: Answers, place: int, task: Task, room: int) -> str:
    """Say in lines of `room` letters what the model answered, how sure it was of a class, and if it was wrong what is right."""
    said, true = answers.predicted[place], answers.labels[place]
    if isinstance(task, Regression):
        return compare(said, true, task, room)
    right = task.is_right(Answer(*(column[place : place + 1] for column in answers.answer)))
    sure = f" {answers.confidence[place]:.0%}" if answers.confidence.ndim == 1 else ""
    mark = "✓" if right is not None and right[0] else "✗"
    parts = task.parts(said)
    lines = wrap([f"{mark} {parts[0]}{sure}", *parts[1:]], room, LINES)
    if mark == "✗":
        parts = task.parts(true)
        lines += wrap([f"is {parts[0]}", *parts[1:]], room, LINES)
    return "\n".join(lines)


def compare(said: Values, true: Values, task: Regression, room: int) -> str:
    """Set numbers beside the true ones; of several targets those two that are farthest off, each under its name."""
    if len(task.names) == 1:
        return f"{said[0]:.4g}\nis {true[0]:.4g}"
    lines = []
    for place in task.farthest(said, true)[:TARGETS]:
        lines += [task.names[place], *wrap([f"{said[place]:.4g}", f"is {true[place]:.4g}"], room, most=2)]
    left = len(task.names) - TARGETS
    return "\n".join([*lines, *([f"+{left}"] if left > 0 else [])])

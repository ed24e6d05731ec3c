"""What augmentation and mixing do to training images, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from vit_cli.inspect.style import BLUE, FAINT, GRID, INK, ORANGE, drawing, save, shorten, wrap
from vit_cli.metrics.regression import Regression
from vit_cli.metrics.task import Task
from vit_cli.report.pictures import Pixels, channels, fit, letters
from vit_cli.train.preview import Preview

DPI = 100
GAP, MARGIN, LINE, HEAD, BAR, LETTER = 12, 24, 17, 64, 6, 7
"""In pixels: between cells, around everything, a line of text, the title with its second line, a bar, a letter."""
LINES = 2
"""Of a caption."""
LEAST_WEIGHT = 0.005
"""A label with less is left out."""


class Text(NamedTuple):
    """Some words at a place, in pixels from the top left corner to their first base line."""

    x: int
    y: int
    words: str
    color: str = INK
    size: float = 9
    weight: str = "normal"


class Canvas:
    """A white picture to lay others and words on."""

    def __init__(self, height: int, width: int) -> None:
        self.pixels: Pixels = np.full((height, width, 3), 255, dtype=np.uint8)
        self.texts: list[Text] = []

    def fill(self, x: int, y: int, width: int, height: int, color: str) -> None:
        """Colour a box."""
        self.pixels[y : y + height, x : x + width] = channels(color)

    def lay(self, x: int, y: int, picture: Pixels) -> None:
        """Lay a picture down with its top left corner at a place."""
        height, width = picture.shape[:2]
        self.pixels[y : y + height, x : x + width] = picture

    def save(self, path: Path) -> None:
        """Write it as PNG; TrainingError if the place can't be written."""
        height, width = self.pixels.shape[:2]
        with drawing():
            figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
            for text in self.texts:
                at = text.x / width, 1 - text.y / height
                figure.text(*at, text.words, fontsize=text.size, color=text.color, fontweight=text.weight)
            figure.figimage(self.pixels, origin="upper")
            save(figure, path, dpi=DPI)


def draw_preview(preview: Preview, path: Path) -> None:
    """Draw a row for each image, the whole one and then as each epoch sees it; below, how the first batch is mixed."""
    originals = [fit(as_pixels(image)) if isinstance(image, Tensor) else image for image in preview.originals]
    versions = [[fit(as_pixels(image)) for image in epoch] for epoch in preview.versions]
    mixed = [fit(as_pixels(image)) for image in preview.mixed]
    shown = [image for image in originals if not isinstance(image, str)] + versions[0]
    side = max(max(image.shape[:2]) for image in shown)
    captions = [wrap(preview.task.parts(label), letters(side), LINES) for label in preview.labels]
    columns = 1 + len(versions)
    places = [MARGIN + column * (side + GAP) + (GAP if column else 0) for column in range(columns)]
    top, step = HEAD + LINE, side + max(map(len, captions)) * LINE + GAP
    middle = top + len(originals) * step + GAP
    mixed_step = side + BAR + LINES * LINE + 2 * GAP
    end = middle + (3 * LINE + -(-len(mixed) // columns) * mixed_step if mixed else 0)
    canvas = Canvas(end + GAP, places[-1] + side + MARGIN)
    canvas.texts += title(preview, (places[-1] + side - MARGIN) // LETTER)
    heads = ["the whole image", *(f"epoch {number}" for number in range(1, columns))]
    canvas.texts += [Text(x, top - 6, head, FAINT) for x, head in zip(places, heads, strict=True)]
    for row, (original, caption) in enumerate(zip(originals, captions, strict=True)):
        y = top + row * step
        put_original(canvas, places[0], y, side, original, caption)
        for x, epoch in zip(places[1:], versions, strict=True):
            canvas.lay(x, y, epoch[row])
    if mixed:
        canvas.texts.append(Text(MARGIN, middle + LINE, "The first batch, mixed", INK, 11, "bold"))
    for number, picture in enumerate(mixed):
        x, y = places[number % columns], middle + 2 * LINE + number // columns * mixed_step
        canvas.lay(x, y, picture)
        put_weights(canvas, x, y + picture.shape[0] + 4, picture.shape[1], preview.task, preview.targets[number])
    canvas.save(path)


def title(preview: Preview, room: int) -> list[Text]:
    """Say on top what is shown, in lines of `room` letters."""
    return [
        Text(MARGIN, 28, shorten(preview.title, room), INK, 12, "bold"),
        Text(MARGIN, 28 + LINE + 2, shorten(preview.facts, room), FAINT),
    ]


def as_pixels(image: Tensor) -> Pixels:
    """(3, h, w) -> (h, w, 3)."""
    pixels: Pixels = image.permute(1, 2, 0).numpy()
    return pixels


def put_original(canvas: Canvas, x: int, y: int, side: int, original: Pixels | str, caption: Sequence[str]) -> None:
    """Lay an image into its cell over its labels; of one that can't be read the reason: training takes another one."""
    below = y + side
    if isinstance(original, str):
        canvas.fill(x, y, side, side, GRID)
        lines = wrap(original.split(), letters(side) - 1, 4)
        canvas.texts += [Text(x + 6, y + LINE * (n + 2), line.replace(",", ""), FAINT) for n, line in enumerate(lines)]
    else:
        canvas.lay(x, y, original)
        below = y + original.shape[0]
    canvas.texts += [Text(x, below + LINE * (n + 1) - 2, line) for n, line in enumerate(caption)]


def put_weights(canvas: Canvas, x: int, y: int, side: int, task: Task, target: NDArray[np.float32]) -> None:
    """Write the weights of a mixed image's labels under it; those of classes, which make up a whole, with a bar."""
    if isinstance(task, Regression):
        canvas.texts.append(Text(x, y + LINE, shorten(task.say(task.in_units(target[None])[0]), letters(side))))
        return
    weights = weigh(target, task.names)
    colors = [BLUE, ORANGE, FAINT][: len(weights)]
    is_whole = task.name == "classification"
    if is_whole:
        ends = np.round(np.cumsum([0, *(weight for weight, _ in weights)]) * side).astype(int)
        for start, end, color in zip(ends, ends[1:], colors, strict=False):
            canvas.fill(x + int(start), y, int(end - start), BAR, color)
    for number, ((weight, name), color) in enumerate(zip(weights[:LINES], colors, strict=False)):
        words = shorten(f"{weight:.0%} {name}", letters(side))
        canvas.texts.append(Text(x, y + BAR + LINE * (number + 1) - 1, words, color if is_whole else INK))


def weigh(target: Sequence[float] | NDArray[np.float32], names: Sequence[str]) -> list[tuple[float, str]]:
    """Give the labels of an image with their weights, the largest first."""
    pairs = [(float(weight), name) for weight, name in zip(target, names, strict=True) if weight >= LEAST_WEIGHT]
    return sorted(pairs, key=lambda pair: -pair[0])

"""Grids of pictures with captions."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vit_cli.inspect.style import FAINT, GREEN, INK, RED, drawing, save, shorten

Pixels = NDArray[np.uint8]
DPI = 100
SIDE, LONGEST_SIDE = 144, 160
BEST = 85
"""Of a JPEG."""
CELLS = "vit-cells"
"""The note in a PNG that says where its pictures lie."""
GAP, FRAME, LINE, TITLE, LETTER = 16, 4, 18, 52, 8
"""In pixels: between cells, around a picture, a line of text, the title, and the width of a letter."""


def draw_grid(
    images: Tensor,
    captions: Sequence[str],
    out_png: Path,
    *,
    columns: int = 8,
    title: str = "",
    marks: Sequence[bool] | None = None,
    told: Sequence[str] | None = None,
) -> None:
    """Draw uint8 images (n, 3, h, w) over their captions; small ones are enlarged without blur.

    `marks` tells which are right (framed in green) and which wrong (in red). A caption may have several lines. The file
    says in itself where each picture lies and its caption, or what is `told` of it where there is room (`read_tiles`).
    """
    pictures = [fit(image.permute(1, 2, 0).cpu().numpy()) for image in images]
    height, width = pictures[0].shape[:2]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    text_height = LINE * max(caption.count("\n") + 1 for caption in captions) + 4
    step_x, step_y = width + 2 * FRAME + GAP, height + 2 * FRAME + text_height + GAP
    top = TITLE if title else GAP
    canvas: Pixels = np.full((top + rows * step_y, GAP + columns * step_x, 3), 255, dtype=np.uint8)
    total_height, total_width = canvas.shape[:2]
    with drawing():
        figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
        figure.text(GAP / total_width, 1 - 14 / total_height, title, fontsize=12, fontweight="bold", va="top")
        for number, picture in enumerate(pictures):
            x, y = GAP + number % columns * step_x, top + number // columns * step_y
            color = INK if marks is None else GREEN if marks[number] else RED
            if marks is not None:
                canvas[y : y + height + 2 * FRAME, x : x + width + 2 * FRAME] = channels(color)
            canvas[y + FRAME : y + FRAME + height, x + FRAME : x + FRAME + width] = picture
            below = y + height + 2 * FRAME + LINE
            for line, text in enumerate(captions[number].split("\n")):
                figure.text(
                    x / total_width,
                    1 - (below + line * LINE) / total_height,
                    shorten(text, letters(width)),
                    fontsize=9,
                    color=color if line == 0 else FAINT,
                )
        figure.figimage(canvas, origin="upper")
        corners = [
            (GAP + number % columns * step_x + FRAME, top + number // columns * step_y + FRAME)
            for number in range(len(pictures))
        ]
        about = {"title": title, "size": [width, height], "zoom": find_zoom(max(images.shape[-2:]))}
        about |= {"corners": corners, "captions": told or captions, "marks": marks}
        save(figure, out_png, dpi=DPI, notes={CELLS: json.dumps(about)})


class Tile(NamedTuple):
    """One picture of a grid: a file of the kind "png" or "jpeg", what is said about it, and whether that is right."""

    kind: str
    content: bytes
    caption: str
    is_right: bool | None


def read_tiles(grid_png: Path, quality: int = BEST) -> tuple[str, list[Tile]]:
    """Take a grid apart: its title, and its pictures without what enlarged them, small ones exact at the best quality.

    There are none in another PNG. Raises OSError if it is damaged.
    """
    with Image.open(grid_png) as grid:
        notes: dict[str, str] = getattr(grid, "text", {})
        if CELLS not in notes:
            return "", []
        about = json.loads(notes[CELLS])
        pixels = grid.convert("RGB")
    width, height = about["size"]
    tiles = []
    for number, (x, y) in enumerate(about["corners"]):
        picture = pixels.crop((x, y, x + width, y + height)).reduce(about["zoom"])
        packed = io.BytesIO()
        kind = "png" if about["zoom"] > 1 and quality >= BEST else "jpeg"
        picture.save(packed, kind, quality=quality, optimize=True)
        tiles.append(
            Tile(kind, packed.getvalue(), about["captions"][number], (about["marks"] or {number: None})[number])
        )
    return about["title"], tiles


def letters(width: int) -> int:
    """Count the letters of a line under a picture that is drawn `width` pixels wide."""
    return (width + 2 * FRAME) // LETTER


def fit(image: Pixels) -> Pixels:
    """Bring an image (h, w, 3) to a size that can be looked at: whole multiples upwards, smooth downwards."""
    longest = max(image.shape[:2])
    zoom = find_zoom(longest)
    if longest <= LONGEST_SIDE:
        return image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    size = tuple(max(1, round(side * LONGEST_SIDE / longest)) for side in (image.shape[1], image.shape[0]))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def find_zoom(longest: int) -> int:
    """Tell how many times an image is enlarged whose longer side has so many pixels."""
    return max(1, round(SIDE / longest))


def channels(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]

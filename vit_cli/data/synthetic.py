"""Images made up on the fly: for smoke runs, tests and benchmarks."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from vit_cli.data.samples import Content
from vit_cli.section import Grid, Positive, Res, Section, as_grid

TILES = 4
"""A class is a pattern of so many tiles in each direction."""


class Synthetic(Section):
    """Coloured tiles that tell the class, under noise that tells the image: easy to learn, no two alike."""

    name: Literal["synthetic"] = "synthetic"
    classes: Positive = 10
    images: Positive = 1000
    size: Res = 32
    seed: int = Field(0, ge=0)
    jpeg: bool = False

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return f"synthetic {as_grid(self.size)}"

    def open(self) -> SyntheticSamples:
        """Give them; image `i` is of class `i % classes`."""
        return SyntheticSamples(self.classes, self.images, as_grid(self.size), self.seed, self.jpeg)


class SyntheticSamples:
    """Images that are functions of (seed, index)."""

    def __init__(self, classes: int, images: int, size: Grid, seed: int, jpeg: bool) -> None:
        self.classes = tuple(f"class {number:0{len(str(classes - 1))}d}" for number in range(classes))
        self.labels: NDArray[np.int64] = np.arange(images) % classes
        self.size = size
        self.seed = seed
        self.jpeg = jpeg

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Content:
        """Draw an image: (h, w, 3), or the bytes of a JPEG."""
        rows, columns = self.size
        label = index % len(self.classes)
        tiles = np.random.default_rng([self.seed, 0, label]).integers(0, 256, (TILES, TILES, 3), dtype=np.uint8)
        pattern = tiles[np.arange(rows) * TILES // rows][:, np.arange(columns) * TILES // columns]
        noise = np.random.default_rng([self.seed, 1, index]).integers(0, 128, (rows, columns, 3), dtype=np.uint8)
        pixels: NDArray[np.uint8] = pattern // 2 + noise
        if not self.jpeg:
            return pixels
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        return file.getvalue()

    def name(self, index: int) -> str:
        """Give the number of the image."""
        return f"synthetic image {index}"

    def key(self, index: int) -> str:
        """Give the number of the image."""
        return str(index)

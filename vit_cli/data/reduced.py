"""A view of images in which larger pictures have been reduced."""

from __future__ import annotations

from vit_cli.data.decode import open_picture
from vit_cli.data.reduce import reduce, reduced_size
from vit_cli.data.samples import Content, Samples
from vit_cli.section import Grid


class Reduced:
    """Samples whose pictures have at most `short_side` pixels at their shorter side; smaller ones stay as they are."""

    def __init__(self, base: Samples, short_side: int, max_pixels: int) -> None:
        self.base = base
        self.short_side = short_side
        self.max_pixels = max_pixels
        self.labels = base.labels
        self.classes = base.classes

    def __len__(self) -> int:
        return len(self.base)

    def read(self, index: int) -> Content:
        """Give the pixels (rows, columns, 3) of a larger picture, and what `base` gives of others. Raises BadImage."""
        content = self.base.read(index)
        picture = open_picture(content, self.max_pixels)
        size = Grid(picture.rows, picture.columns)
        if min(size) <= self.short_side:
            return content
        least = reduced_size(size, self.short_side)
        pixels: Content = reduce(picture.pixels(least), least).permute(1, 2, 0).numpy()
        return pixels

    def name(self, index: int) -> str:
        """Give what `base` gives."""
        return self.base.name(index)

    def key(self, index: int) -> str:
        """Give what `base` gives."""
        return self.base.key(index)

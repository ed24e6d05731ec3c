"""One model, the images it looks at, and the width there is to draw what it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from torch import Tensor

from vit_cli.evaluate.saved import Ready
from vit_cli.inspect.album import BATCH, TRUE, Album
from vit_cli.inspect.board import Pixels
from vit_cli.inspect.parts import Lattice, Parts
from vit_cli.inspect.tiles import as_pixels
from vit_cli.models.classifier import Classifier


@dataclass(frozen=True)
class Sight:
    """What a panel is made from; `layer`, from 1, is the one whose attention is drawn: the last if None."""

    title: str
    ready: Ready
    parts: Parts
    album: Album
    width: int
    layer: int | None = None

    @property
    def model(self) -> Classifier:
        return self.ready.model

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.title.partition(":")[0]

    @property
    def lattice(self) -> Lattice:
        """The patches of a model that has attention; TypeError for one that has none."""
        if self.parts.lattice is None:
            raise TypeError("a model without attention has no grid of patches")
        return self.parts.lattice

    def batches(self, places: Sequence[int] | None = None) -> Iterator[Tensor]:
        """Give the images, or those at some places, as the model takes them, batch by batch."""
        device = next(self.model.parameters()).device
        images = self.album.images if places is None else self.album.images[list(places)]
        for part in images.split(BATCH):
            yield self.ready.prepare(part.to(device))

    @property
    def pictures(self) -> list[Pixels]:
        """The images that are drawn."""
        return [as_pixels(self.album.images[place]) for place in self.album.shown]

    @property
    def names(self) -> list[str]:
        """What they are called: their class, or their file."""
        album = self.album
        if album.told_by == TRUE and album.groups is not None:
            return [str(album.groups[place]) for place in album.shown]
        return [PurePath(album.names[place]).stem for place in album.shown]

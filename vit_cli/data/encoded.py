"""JPEGs that leave the workers as they are, to be decoded on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import torch
from torch import Tensor

from vit_cli.data.decode import JpegPicture, Picture, is_cut
from vit_cli.data.order import Draws
from vit_cli.section import Grid

if TYPE_CHECKING:
    from vit_cli.data.batch import Batch

JFIF_PLACE = slice(6, 11)
JFIF = b"JFIF\0"
"""By this the colours are YCbCr: decoders that are told less may guess otherwise."""


class Jpeg(NamedTuple):
    """A JPEG, and what brings its pixels (3, h, w) to size."""

    data: bytes
    take: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The JPEGs of a batch, their bytes one after the other in (n,) uint8, and their places among all its images."""

    content: Tensor
    sizes: tuple[int, ...]
    takes: tuple[Callable[[Tensor], Tensor], ...]
    places: tuple[int, ...]


def is_plain(picture: Picture) -> TypeGuard[JpegPicture]:
    """Tell a JPEG that every decoder reads alike: whole, upright, of known colours, its rows coded once and in order."""
    if not isinstance(picture, JpegPicture) or picture.data[JFIF_PLACE] != JFIF:
        return False
    header = picture.header
    return header.tall > 0 and header.orientation == 1 and not is_cut(picture.data, header.scan)


def join(jpegs: Mapping[int, Jpeg]) -> Encoded:
    """Put the JPEGs of a batch together, by their places."""
    content = torch.frombuffer(bytearray(b"".join(jpeg.data for jpeg in jpegs.values())), dtype=torch.uint8)
    sizes, takes = tuple(len(jpeg.data) for jpeg in jpegs.values()), tuple(jpeg.take for jpeg in jpegs.values())
    return Encoded(content, sizes, takes, tuple(jpegs))


def decode_batch(batch: Batch, device: torch.device, res: Grid, make: Callable[[Draws], Batch]) -> Batch:
    """Decode on `device`, and bring to size there, what a batch holds encoded; its images are those of the other places.

    On a GPU nvJPEG decodes, and spreads coarse colours in its own way. What it refuses is made anew from its file, by `make`.
    """
    encoded = batch.encoded
    if encoded is None:
        return batch
    images = torch.empty(len(batch), 3, *res, dtype=torch.uint8, device=device)
    labels, bad = batch.labels.clone(), list(batch.bad)
    decoded = decode(encoded.content.split(encoded.sizes), device)
    for place, take, pixels in zip(encoded.places, encoded.takes, decoded, strict=True):
        if pixels is not None:
            images[place] = take(pixels)
            continue
        indices, epochs = (numbers[place : place + 1].numpy() for numbers in (batch.indices, batch.epochs))
        other = make(Draws(indices, epochs, indices))
        images[place], labels[place] = other.images[0], other.labels[0]
        bad += other.bad
    others = sorted(set(range(len(batch))) - set(encoded.places))
    for place, image in zip(others, batch.images, strict=True):
        images[place].copy_(image, non_blocking=True)
    return replace(batch, images=images, labels=labels, bad=tuple(bad), encoded=None)


def decode(contents: Sequence[Tensor], device: torch.device) -> list[Tensor | None]:
    """Decode JPEGs to (3, h, w) uint8 on `device`; None for each that is refused."""
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        decoded: list[Tensor | None] = decode_jpeg(list(contents), ImageReadMode.RGB, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # tells not which
        return [None] if len(contents) == 1 else [decode([content], device)[0] for content in contents]
    return decoded


def decode_ahead(batches: Iterable[Batch], decode: Callable[[Batch], Batch]) -> Iterator[Batch]:
    """Decode every batch in a thread, while the one before it is trained on."""
    before: Future[Batch] | None = None
    with ThreadPoolExecutor(1) as thread:
        for batch in batches:
            coming = thread.submit(decode, batch)
            if before:
                yield before.result()
            before = coming
        if before:
            yield before.result()

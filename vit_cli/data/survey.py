"""A look at every image of a split: whether it can be read, what it is, and a number that equal pictures share."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vit_cli.data.ahead import make_batches
from vit_cli.data.bad import Bad
from vit_cli.data.decode import BadImage, one_line, open_picture
from vit_cli.data.pillow import QUIET
from vit_cli.data.samples import Content, Samples
from vit_cli.errors import DataError

CHUNK = 32
"""Images that a worker looks at before it tells of them."""
NAMED = 1000
"""So many broken images are kept by name; all are counted."""
PROBES = 64
"""Pictures whose headers tell how large all are, about."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a worker found out about some images, in their order; one that can't be read has no pixels: 0 rows.

    `hashes` (n,) are of the pixels; `rows` and `columns` (n,) those of the upright picture; `kinds` count formats with
    their modes ("JPEG RGB"); `seconds` is what reading and decoding took.
    """

    hashes: NDArray[np.uint64]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    kinds: Counter[str]
    bad: tuple[Bad, ...]
    seconds: float


@dataclass(eq=False)
class Survey:
    """The same of a whole split, or of a sample of it: `places` (n,) are the images looked at, of `samples`."""

    name: str
    samples: Samples
    places: NDArray[np.int64]
    hashes: NDArray[np.uint64] = field(init=False)
    rows: NDArray[np.int32] = field(init=False)
    columns: NDArray[np.int32] = field(init=False)
    kinds: Counter[str] = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.hashes = np.zeros(len(self.places), dtype=np.uint64)
        self.rows, self.columns = np.zeros((2, len(self.places)), dtype=np.int32)

    @property
    def is_read(self) -> NDArray[np.bool_]:
        """Tell of each image looked at whether it could be read (n,)."""
        return self.rows > 0

    def add(self, start: int, seen: Seen) -> None:
        """Add what was found out about the images from the `start`-th on."""
        here = slice(start, start + len(seen.rows))
        self.hashes[here], self.rows[here], self.columns[here] = seen.hashes, seen.rows, seen.columns
        self.kinds += seen.kinds
        self.bad += seen.bad[: NAMED - len(self.bad)]
        self.reasons.update(reason_kind(bad.reason) for bad in seen.bad)
        self.seconds += seen.seconds


class Look:
    """What a worker does: look at chunk `number` of the images at `places`."""

    def __init__(self, samples: Samples, places: NDArray[np.int64], max_pixels: int) -> None:
        self.samples = samples
        self.places = places
        self.max_pixels = max_pixels

    def __call__(self, number: int) -> Seen:
        places = self.places[number * CHUNK : (number + 1) * CHUNK].tolist()
        hashes = np.zeros(len(places), dtype=np.uint64)
        sides = np.zeros((2, len(places)), dtype=np.int32)
        kinds: Counter[str] = Counter()
        bad = []
        seconds = 0.0
        for at, place in enumerate(places):
            begin = time.perf_counter()
            try:
                content = read(self.samples, place)
                pixels = open_picture(content, self.max_pixels).pixels()
            except BadImage as error:
                bad.append(Bad(place, self.samples.name(place), error.reason))
                continue
            seconds += time.perf_counter() - begin
            hashes[at], sides[:, at] = hash_pixels(pixels), pixels.shape[1:]
            kinds[describe_kind(content)] += 1
        return Seen(hashes, sides[0], sides[1], kinds, tuple(bad), seconds)


def look_at(
    name: str,
    samples: Samples,
    places: NDArray[np.int64],
    *,
    workers: int,
    max_pixels: int,
    told: Callable[[int], None],
) -> Survey:
    """Read and decode the images at `places` with so many processes; `told` hears how many more are done."""
    survey = Survey(name, samples, places)
    start = 0
    for seen in make_batches(Look(samples, places, max_pixels), range(-(-len(places) // CHUNK)), workers):
        survey.add(start, seen)
        start += len(seen.rows)
        told(len(seen.rows))
    return survey


def read(samples: Samples, place: int) -> Content:
    """Read an image. Raises BadImage if that is not possible."""
    try:
        return samples.read(place)
    except OSError as error:
        raise BadImage(f"unreadable: {error.strerror or one_line(error)}") from error
    except DataError as error:
        raise BadImage(f"unreadable: {error.problem}") from error


def hash_pixels(pixels: Tensor) -> int:
    """Give 64 bits that pictures (3, h, w) of equal pixels share, and others, but for chance, do not."""
    digest = sha1(b"%d %d" % pixels.shape[1:], usedforsecurity=False)  # processors have instructions for it
    digest.update(pixels.permute(1, 2, 0).contiguous().numpy().data)
    return int.from_bytes(digest.digest()[:8], "little")


def describe_kind(content: Content) -> str:
    """Name format and mode of a picture that can be read: "JPEG RGB", "PNG P"; of an array "RGB pixels"."""
    if not isinstance(content, bytes):
        return "grey pixels" if content.ndim == 2 else "RGB pixels"
    with QUIET:
        image = Image.open(io.BytesIO(content))
    return f"{image.format} {image.mode}"


def reason_kind(reason: str) -> str:
    """Give what is wrong, without the detail."""
    return reason.partition(":")[0]


def probe_sizes(samples: Samples, max_pixels: int) -> NDArray[np.int64]:
    """Read rows and columns (k, 2) of some encoded pictures, spread evenly, from their headers; none of pixels."""
    sizes = []
    for place in np.unique(np.linspace(0, len(samples) - 1, PROBES, dtype=np.int64)).tolist():
        try:
            content = read(samples, place)
            picture = open_picture(content, max_pixels)
        except BadImage:
            continue
        if isinstance(content, bytes):
            sizes.append((picture.rows, picture.columns))
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)

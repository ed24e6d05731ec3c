"""What makes Pillow a decoder of ours: silence, right RGB, and the names of what it can't read."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vit_cli.data.jpeg import ORIENTATION

SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"8BPS", "PSD"),
    (0, b"%!PS", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!DOCTYPE", "HTML"),
    (0, b"<html", "HTML"),
)
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damaged files."""


class QuietPillow:
    """While entered, Pillow warns of nothing and leaves the limit on sizes to us.

    Both are settings of the whole process, so the first thread that enters changes them and the last that leaves
    restores them.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.filters.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self.limit


QUIET = QuietPillow()


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring the decoded first frame to RGB."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(scale_deep(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


def scale_deep(pixels: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Scale 16-bit grey to 8 bits. Raises ValueError for other depths, whose white nobody knows."""
    wide = pixels.astype(np.int64)
    if mode == "F" or wide.min() < 0 or wide.max() > 0xFFFF:
        raise ValueError(f"grey of mode {mode} is neither 8 nor 16 bits deep")
    return ((wide * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8)


def orientation(image: Image.Image) -> int:
    """Read how a picture is to be turned, 1 to 8; 1 (not at all) where EXIF is absent or broken."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except UNREADABLE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def recognise(data: bytes) -> str | None:
    """Name a format by its first bytes."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \r\n\t") if data[:1] in b"\xef \r\n\t<" else data[:64]
    return next((name for at, magic, name in SIGNATURES if start[at : at + len(magic)].lower() == magic.lower()), None)

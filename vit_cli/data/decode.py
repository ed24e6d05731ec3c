"""From the bytes of a picture, whatever its kind, to right RGB pixels."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import torch
import torchvision.io  # registers torch.ops.image
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vit_cli.data.samples import Content

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded; a file's first bytes decide, not its name."""
MAX_PIXELS = 64_000_000
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
ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned."""
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


class BadImage(ValueError):
    """A picture that can't be used; `reason` is "kind" or "kind: detail", on one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def kind(self) -> str:
        """What is wrong, without the detail."""
        return self.reason.partition(":")[0]


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


def to_pixels(content: Content, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Give an image as (3, h, w) uint8 of its own memory, laid out as `decode` does it. Raises BadImage."""
    return decode(content, max_pixels) if isinstance(content, bytes) else from_array(content)


def from_array(pixels: NDArray[np.uint8]) -> Tensor:
    """(h, w) grey or (h, w, 3) RGB -> (3, h, w), copied."""
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
    return torch.from_numpy(np.array(pixels, order="C")).permute(2, 0, 1)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode a picture to RGB: (3, h, w) uint8. Raises BadImage.

    Transparency is laid on white; 16-bit samples are scaled to 8; of an animation the first frame is taken; the
    orientation of EXIF is applied; a colour profile is not. The size is read from the header first, so that a small
    file can't fill the memory. The three colours of a pixel lie side by side: such images are resized faster.
    """
    with QUIET:
        image = read_header(data, max_pixels)
        is_jpeg = image.format in ("JPEG", "MPO")
        if is_jpeg and is_cut(data):
            raise BadImage("damaged: cut off before its end")
        try:
            pixels = decode_jpeg(data) if is_jpeg and image.mode in ("L", "RGB") else None
            if pixels is None:
                pixels = from_array(np.asarray(to_rgb(image)))
            return turn(
                pixels, orientation(image)
            )  # asked after decoding: a TIFF is turned by Pillow, and no longer says so
        except UNREADABLE as error:
            raise BadImage(f"damaged: {one_line(error)}") from error


def size_of(data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """Count the pixels of a picture from its header. Raises BadImage."""
    with QUIET:
        image = read_header(data, max_pixels)
    return image.width * image.height


def read_header(data: bytes, max_pixels: int) -> Image.Image:
    """Open a picture without decoding it. Raises BadImage if it is no picture, of a kind not allowed, or too big."""
    if not data:
        raise BadImage("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        kind = recognise(data)
        if kind is None:
            raise BadImage("not an image") from error
        raise BadImage(f"damaged: {kind} header" if kind in FORMATS else f"unsupported format: {kind}") from error
    except UNREADABLE as error:
        raise BadImage(f"damaged: {one_line(error)}") from error
    if image.width * image.height > max_pixels:
        raise BadImage(f"too many pixels: {image.width}x{image.height}, data.max_pixels is {max_pixels}")
    return image


def is_cut(data: bytes) -> bool:
    """Tell a JPEG without an end marker, which no coded pixels can hold; some decoders make up grey pixels, some refuse it."""
    return data.find(b"\xff\xd9", find_scan(data)) < 0


def find_scan(data: bytes) -> int:
    """Find where a JPEG's coded pixels begin, past segments that may hold another JPEG, such as a thumbnail; -1 if nowhere."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        if data[at + 1] == 0xDA:
            return at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big") if data[at + 1] != 0xFF else 1
    return data.find(b"\xff\xda")


def decode_jpeg(data: bytes) -> Tensor | None:
    """Decode a grey or YCbCr JPEG with libjpeg-turbo: (3, h, w), or None for what Pillow shall decide.

    The operator is called by its own name: it outlives torchvision's Python function for it, which is deprecated since
    0.29, and is about 1.6 times as fast as Pillow on photos, 4 times on thumbnails. A torchvision without it is served
    by Pillow.
    """
    if not hasattr(torch.ops.image, "decode_jpeg"):
        return None
    try:
        pixels: Tensor = torch.ops.image.decode_jpeg(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), torchvision.io.ImageReadMode.RGB.value, False
        )
    except RuntimeError:
        return None
    return pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode the first frame to RGB, with Pillow."""
    image.load()
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
    return value if isinstance(value, int) else 1


def turn(pixels: Tensor, value: int) -> Tensor:
    """Turn (3, h, w) upright, by the EXIF orientation `value`."""
    if not 2 <= value <= 8:
        return pixels
    if value >= 5:
        pixels = pixels.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 5: (), 6: (2,), 7: (1, 2), 8: (1,)}[value]
    return pixels.flip(flips).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def recognise(data: bytes) -> str | None:
    """Name a format by its first bytes."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \r\n\t") if data[:1] in b"\xef \r\n\t<" else data[:64]
    return next((name for at, magic, name in SIGNATURES if start[at : at + len(magic)].lower() == magic.lower()), None)


def one_line(error: BaseException) -> str:
    """Write an error on one line, without anything that a terminal would obey."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c for c in text if c.isprintable())[:200]

"""Pictures as a pack takes them: as they are, or reduced to a short side."""

from __future__ import annotations

import io
import time

import numpy as np
import simplejpeg
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vit_cli.data.decode import BadImage, one_line, open_picture
from vit_cli.data.loader import HOPELESS, WAITS
from vit_cli.data.pillow import recognise
from vit_cli.data.samples import Content, Samples
from vit_cli.section import Grid

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "TIFF": "tif"}
"""The endings of members by the format of their content; what has no name there and can be decoded is a BMP."""


def take_picture(
    samples: Samples, row: int, short_side: int | None, quality: int, max_pixels: int
) -> tuple[bytes, str]:
    """Give an encoded picture and its ending. Raises BadImage if it can't be read or decoded, or is too large.

    Without a `short_side`, and where the picture is no larger, its bytes stay as they are; pixels become a PNG. Else it is
    turned upright, reduced, and becomes a JPEG of this quality with halved colours (4:2:0).
    """
    content = read_patiently(samples, row)
    picture = open_picture(content, max_pixels)
    size = Grid(picture.rows, picture.columns)
    if short_side is not None and min(size) > short_side:
        least = reduced_size(size, short_side)
        return encode_jpeg(reduce(picture.pixels(least), least), quality), "jpg"
    picture.pixels()
    if not isinstance(content, bytes):
        return encode_png(content), "png"
    return content, ENDINGS.get(recognise(content) or "", "bmp")


def read_patiently(samples: Samples, row: int) -> Content:
    """Read an image, again after a while if the disk fails. Raises BadImage."""
    for wait in (*WAITS, None):
        try:
            return samples.read(row)
        except OSError as error:
            if wait is None or isinstance(error, HOPELESS):
                raise BadImage(f"unreadable: {error.strerror or one_line(error)}") from error
            time.sleep(wait)
    raise AssertionError("the last wait is None")


def reduced_size(size: Grid, short_side: int) -> Grid:
    """Give the size with `short_side` at the shorter side and the same shape, to the nearest pixel."""
    return Grid(*(max(short_side, round(side * short_side / min(size))) for side in size))


def reduce(pixels: Tensor, size: Grid) -> Tensor:
    """(3, h, w) uint8 -> (3, rows, columns) uint8, by bicubic filtering without aliasing."""
    batch = pixels.permute(1, 2, 0)[None].permute(0, 3, 1, 2)  # of such strides, torch leaves colours side by side
    reduced: Tensor = F.interpolate(batch, size=tuple(size), mode="bicubic", antialias=True)[0]
    return reduced


def encode_jpeg(pixels: Tensor, quality: int) -> bytes:
    """Write (3, h, w) uint8 as a JPEG with halved colours."""
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    content: bytes = simplejpeg.encode_jpeg(array, quality=quality, colorspace="RGB", colorsubsampling="420")
    return content


def encode_png(pixels: Content) -> bytes:
    """Write pixels as a PNG, of grey where they are grey."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG")
    return file.getvalue()

"""JPEG without Pillow: what a header says, and a decoder that can stop early or decode smaller."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from vit_cli.section import Grid

SCALES = (8, 4, 2)
"""A picture can be decoded at 1/8, 1/4 or 1/2 of its size for less work: only the low frequencies are turned into pixels."""
MOST_SEGMENTS = 1000
"""A header of more is left to Pillow; a colour profile, the longest of metadata, is cut into 255 at most."""
BASELINE, EXTENDED, PROGRESSIVE, SCAN, QUANTISING, RESTARTS, METADATA = 0xC0, 0xC1, 0xC2, 0xDA, 0xDB, 0xDD, 0xE1
PASSED = frozenset((0xC4, QUANTISING, RESTARTS, 0xFE, *range(0xE0, 0xF0)))
"""Tables, comments and the segments of applications."""
SHORTEST = {BASELINE: 11, EXTENDED: 11, PROGRESSIVE: 11, SCAN: 8, 0xE0: 16, 0xE2: 16, 0xEE: 14}
"""The bytes that segments have at least, with those of their length; Pillow stumbles over shorter ones."""
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned."""
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of one value, by the type that an EXIF entry names."""
REST = "extraneous bytes before marker 0xd9"
"""What libjpeg-turbo complains of last, having given all rows it was told of: it found more, and then the end."""


class Header(NamedTuple):
    """What a header says: the size as it is stored, before EXIF's `orientation` (1 to 8) turns it.

    `frame` and `scan` are where these segments begin. `tall` is how many rows one row of the coarsest colour covers, 1 or 2,
    if the rows are coded once, from top to bottom and without marks between them; else 0.
    """

    rows: int
    columns: int
    orientation: int
    frame: int
    scan: int
    tall: int


def read_header(data: bytes) -> Header | None:
    """Read the header of a JPEG, grey or of three colours; None for what is unusual or broken, which Pillow shall judge."""
    frame, has_more, has_marks = 0, False, False
    exif: bytes | None = None
    for marker, start, end in segments(data):
        if marker == SCAN:
            orientation = 0 if exif is None else find_orientation(exif)
            if orientation is None or (has_more and not orientation):
                return None
            header = assemble(data, frame, start, orientation) if frame else None
            return header._replace(tall=0) if header and has_marks else header
        if marker in (BASELINE, EXTENDED, PROGRESSIVE) and not frame:
            frame = start
        elif marker == METADATA and data.startswith(EXIF, start + 4):
            if exif is not None:
                return None
            exif = data[start + 4 + len(EXIF) : end]
        elif marker == METADATA and data.startswith(XMP, start + 4):
            has_more |= data.find(b"tiff:Orientation", start, end) >= 0  # obeyed where EXIF says nothing
        elif marker not in PASSED or (marker == QUANTISING and not holds_whole_tables(data, start, end)):
            return None
        has_marks |= marker == RESTARTS
    return None


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Give marker, begin and end of each segment up to the first scan's; ends early where they do not follow each other."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    for _ in range(MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker, start = data[at + 1], at
        size = data[at + 2] << 8 | data[at + 3]
        at += 2 + size
        if size < SHORTEST.get(marker, 2) or at > len(data):
            return
        yield marker, start, at
        if marker == SCAN:
            return


def holds_whole_tables(data: bytes, start: int, end: int) -> bool:
    """Tell whether a segment of quantisation tables ends with one: each is a byte, and 64 numbers of one or two bytes."""
    at = start + 4
    while at < end:
        at += 129 if data[at] >> 4 else 65
    return at == end


def assemble(data: bytes, frame: int, scan: int, orientation: int) -> Header | None:
    """Read the segments of the frame and the scan; None if they are not of 8 bits and one or three colours."""
    size, bits, rows, columns, colours = struct.unpack_from(">HBHHB", data, frame + 2)
    if bits != 8 or colours not in (1, 3) or size != 8 + 3 * colours or not rows or not columns:
        return None
    tall = max(data[frame + 11 + 3 * colour] & 15 for colour in range(colours))
    is_plain = data[frame + 1] != PROGRESSIVE and data[scan + 4] == colours and tall <= 2
    return Header(rows, columns, orientation if 1 <= orientation <= 8 else 1, frame, scan, tall if is_plain else 0)


def find_orientation(tiff: bytes) -> int | None:
    """Find the orientation in the first directory of EXIF: 0 if there is none, None if what precedes it is broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    entry = struct.Struct(order + "HHI4s")
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values, content = entry.unpack_from(tiff, place)
            if tag == ORIENTATION:
                return int(struct.unpack_from(order + "H", content)[0]) if (kind, values) == (3, 1) else None
            size = WIDTHS[kind] * values
            if size > 4 and struct.unpack(order + "I", content)[0] + size > len(tiff):
                return None
    except (struct.error, KeyError):
        return None
    return 0


def choose_scale(size: Grid, least: Grid | None) -> int:
    """Choose the smallest size of decoding that is at least `least` in both sides, as what the sides are divided by."""
    if least is None:
        return 1
    fits = (s for s in SCALES if -(-size.rows // s) >= least.rows and -(-size.columns // s) >= least.columns)
    return next(fits, 1)


def rows_to_decode(header: Header, bottom: int | None, scale: int) -> int:
    """Count the rows that a decoder must be told of so that those above `bottom` come out as from the whole picture.

    It ends with whole blocks. Where a colour is coarse its pixels are mixed with those of the row below, so that it takes
    one more.
    """
    if bottom is None or not header.tall:
        return header.rows
    block, more = 8 * header.tall, scale * header.tall if header.tall > 1 else 0
    return min(header.rows, -(-(bottom + more) // block) * block)


def decode_jpeg(data: bytes, header: Header, least: Grid | None = None, bottom: int | None = None) -> Tensor | None:
    """Decode with libjpeg-turbo to (3, h, w) uint8, as it is stored, not turned; None for what Pillow shall decide.

    It is scaled down if more than `least` remains. Rows from `bottom` on, counted at full size, may be left black: the
    decoder gets a copy of the file whose header says that it ends there.
    """
    scale = choose_scale(Grid(header.rows, header.columns), least)
    rows, columns = -(-header.rows // scale), -(-header.columns // scale)
    coded = rows_to_decode(header, bottom, scale)
    is_part = coded < header.rows
    source: bytes | bytearray = data
    if is_part:
        source = bytearray(data)
        struct.pack_into(">H", source, header.frame + 5, coded)
    pixels = np.empty((rows, columns, 3), np.uint8)
    wanted = pixels[: -(-coded // scale)]
    pixels[len(wanted) :] = 0
    try:
        simplejpeg.decode_jpeg(source, "RGB", min_height=len(wanted), min_width=columns, buffer=wanted)
    except ValueError as error:  # also for damage that can be overlooked; whether it shall be, Pillow knows
        if not (is_part and str(error).endswith(REST)):
            return None
    return torch.from_numpy(pixels).permute(2, 0, 1)

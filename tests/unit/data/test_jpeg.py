"""Our own reader of JPEG headers and the decoder behind it; compared with Pillow, and parts with the whole."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.data.pictures import encode, picture
from vit_cli.data.decode import BadImage, decode, open_picture
from vit_cli.data.jpeg import Header, choose_scale, decode_jpeg, find_orientation, read_header
from vit_cli.data.pillow import QUIET, orientation
from vit_cli.section import Grid

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"
SMOOTH = picture(1, (5, 4)).resize((61, 83), Image.Resampling.BICUBIC)
ROUGH = picture(2, (61, 83))
KINDS = ("444", "422", "420", "440", "411", "Gray")
TURNED = Image.Exif()
TURNED[0x0112] = 6


def sampled(image: Image.Image, kind: str) -> bytes:
    """Encode with a subsampling, of which Pillow writes but three."""
    pixels = np.array(image.convert("L"))[..., None] if kind == "Gray" else np.array(image)
    return simplejpeg.encode_jpeg(pixels, 90, "Gray" if kind == "Gray" else "RGB", kind)


FILES = {
    **{kind: sampled(SMOOTH, kind) for kind in KINDS},
    **{f"rough {kind}": sampled(ROUGH, kind) for kind in KINDS},
    "restarts in rows": encode(ROUGH, "JPEG", restart_marker_rows=1),
    "restarts in blocks": encode(ROUGH, "JPEG", restart_marker_blocks=3),
    "optimised": encode(ROUGH, "JPEG", optimize=True, quality=100, subsampling=0),
    "stored as RGB": encode(ROUGH, "JPEG", keep_rgb=True),
    "flat": encode(ROUGH.resize((200, 1)), "JPEG"),
    "thin": encode(ROUGH.resize((1, 200)), "JPEG"),
    "progressive": encode(ROUGH, "JPEG", progressive=True),
    "with a profile": encode(ROUGH, "JPEG", icc_profile=bytes(200_000), comment=b"a comment", dpi=(300, 300)),
    "turned": encode(ROUGH, "JPEG", exif=TURNED),
    "of two pictures": encode(ROUGH, "MPO", save_all=True, append_images=[SMOOTH]),
}


def header_of(data: bytes) -> Header:
    header = read_header(data)
    assert header is not None
    return header


def told_by_pillow(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and orientation."""
    with QUIET:
        image = Image.open(io.BytesIO(data))
        value = orientation(image)
    return image.height, image.width, value if 1 <= value <= 8 else 1


def exif(order: str, *entries: tuple[int, int, int, bytes], at: int = 8) -> bytes:
    """Write a directory of EXIF."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(order + "HHI4s", *entry) for entry in entries)
    return mark + struct.pack(order + "I", at) + bytes(at - 8) + struct.pack(order + "H", len(entries)) + body


@pytest.mark.parametrize("kind", FILES)
def test_a_header_says_what_pillow_reads(kind: str) -> None:
    assert header_of(FILES[kind])[:3] == told_by_pillow(FILES[kind])


def test_the_headers_of_photos_say_what_pillow_reads() -> None:
    if not PHOTOS.is_dir():
        pytest.skip("the photos are not on this machine")
    for path in sorted(PHOTOS.glob("*.JPEG")):
        data = path.read_bytes()
        header = read_header(data)
        assert header is None or header[:3] == told_by_pillow(data), path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", range(10))
def test_the_orientation_is_found_in_either_order_of_bytes(order: str, value: int) -> None:
    before = [(0x0100, 4, 1, b"abcd"), (0x010F, 2, 4, b"abc\0"), (0x0110, 2, 10, struct.pack(order + "I", 3))]
    tiff = exif(order, *before, (0x0112, 3, 1, struct.pack(order + "HH", value, 7)), at=20)
    data = encode(ROUGH, "JPEG", exif=b"Exif\0\0" + tiff)
    assert find_orientation(tiff) == value
    assert header_of(data)[:3] == told_by_pillow(data)


def test_what_is_unusual_is_left_to_pillow() -> None:
    whole = FILES["420"]
    xmp = b"<x tiff:Orientation='6'/>"
    wide = exif("<", (0x0112, 4, 1, b"\6\0\0\0"))
    for data in (
        b"",
        b"\xff\xd8",
        encode(SMOOTH),
        encode(SMOOTH.convert("CMYK"), "JPEG"),
        whole.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        whole.replace(b"\xff\xc0", b"\xff\xc3"),
        whole.replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x10"),
        whole[:2] + b"\xff" + whole[2:],
        whole[:2] + b"junk" + whole[2:],
        whole[:2] + b"\xff\xfe\0\2" * 2000 + whole[2:],
        encode(SMOOTH, "JPEG", xmp=xmp),
        encode(SMOOTH, "JPEG", exif=b"Exif\0\0" + wide),
        encode(SMOOTH, "JPEG", exif=b"Exif\0\0"),
    ):
        assert read_header(data) is None
    assert header_of(encode(SMOOTH, "JPEG", xmp=xmp, exif=TURNED)).orientation == 6


@pytest.mark.parametrize("kind", ["420", "turned", "progressive"])
def test_a_header_that_is_cut_anywhere_is_none(kind: str) -> None:
    data, header = FILES[kind], header_of(FILES[kind])
    end = header.scan + 2 + int.from_bytes(data[header.scan + 2 : header.scan + 4], "big")
    assert all(read_header(data[:length]) is None for length in range(end))
    assert read_header(data[:end]) == header


@pytest.mark.parametrize("kind", FILES)
def test_pixels_agree_with_pillow(kind: str) -> None:
    data = FILES[kind]
    pixels = decode_jpeg(data, header_of(data))
    assert pixels is not None
    stored = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)
    assert int((pixels.int() - stored.int()).abs().max()) <= 2


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
def test_rows_above_the_bottom_are_those_of_the_whole(kind: str, divisor: int) -> None:
    data, header = FILES[kind], header_of(FILES[kind])
    least = Grid(-(-header.rows // divisor), -(-header.columns // divisor))
    whole = decode_jpeg(data, header, least)
    assert whole is not None
    for bottom in range(1, header.rows + 1):
        part = decode_jpeg(data, header, least, bottom)
        assert part is not None
        assert part.shape == whole.shape
        needed = -(-bottom // divisor)
        assert torch.equal(part[:, :needed], whole[:, :needed]), bottom


def test_a_plain_jpeg_is_not_decoded_below_the_bottom_and_nothing_complains(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in ("444", "420", "Gray", "optimised"):
        data = FILES[kind]
        part = decode_jpeg(data, header_of(data), bottom=20)
        assert part is not None
        assert part[:, 48:].max() == 0
        assert decode(data)[:, 48:].float().mean() > 50
    assert capfd.readouterr() == ("", "")
    for kind in ("progressive", "restarts in rows"):
        assert torch.equal(open_picture(FILES[kind]).pixels(bottom=20), decode(FILES[kind]))


@pytest.mark.parametrize(
    ("least", "scale"),
    [(None, 1), ((1, 1), 8), ((375, 500), 8), ((376, 500), 4), ((375, 501), 4), ((1000, 1), 2), ((1501, 1), 1)],
)
def test_the_scale_is_the_smallest_that_is_large_enough(least: tuple[int, int] | None, scale: int) -> None:
    assert choose_scale(Grid(3000, 4000), Grid(*least) if least else None) == scale


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_a_smaller_decoding_is_that_of_pillow(kind: str, divisor: int) -> None:
    data = sampled(picture(1, (9, 7)).resize((401, 307), Image.Resampling.BICUBIC), kind)
    pixels = open_picture(data).pixels(Grid(307 // divisor, 401 // divisor))
    image = Image.open(io.BytesIO(data))
    image.draft(None, (401 // divisor, 307 // divisor))
    small = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert pixels.shape == small.shape == (3, -(-307 // divisor), -(-401 // divisor))
    assert int((pixels.int() - small.int()).abs().max()) <= 2


@pytest.mark.parametrize("kind", ["420", "restarts in rows", "progressive", "turned", "with a profile"])
def test_damage_in_the_middle_is_judged_as_by_pillow(kind: str) -> None:
    random = np.random.default_rng(0)
    data, scan = FILES[kind], header_of(FILES[kind]).scan
    for _ in range(40):
        damaged = bytearray(data)
        for place in random.integers(scan + 14, len(data) - 2, 3):
            damaged[place] = random.integers(256)
        try:
            pixels = decode(bytes(damaged))
        except BadImage:
            with QUIET, pytest.raises((OSError, SyntaxError)):
                Image.open(io.BytesIO(damaged)).load()
        else:
            shown = Image.open(io.BytesIO(damaged)).convert("RGB")
            turned = shown.transpose(Image.Transpose.ROTATE_270) if kind == "turned" else shown
            assert int((pixels.int() - torch.from_numpy(np.array(turned)).permute(2, 0, 1).int()).abs().max()) <= 2


EDITS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255), st.booleans()), min_size=1, max_size=6)


def test_an_orientation_that_does_not_exist_turns_nothing() -> None:
    data = FILES["turned"][:47] + b"\x01" + FILES["turned"][47:]  # found by the test below: orientation 256
    assert read_header(data) is None
    opened = open_picture(data, 1_000_000)
    assert opened.pixels().shape == (3, opened.rows, opened.columns)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["420", "optimised", "turned", "progressive"])
@settings(max_examples=150, deadline=None)
@given(edits=EDITS)
def test_any_change_of_a_file_is_read_as_by_pillow_or_left_to_it(kind: str, edits: list[tuple[int, int, bool]]) -> None:
    data = bytearray(FILES[kind])
    for at, value, inserts in edits:
        data[at : at + (not inserts)] = bytes([value])
    header = read_header(bytes(data))
    if header is not None:
        assert header[:3] == told_by_pillow(bytes(data))
    try:
        opened = open_picture(bytes(data), 1_000_000)
        whole = opened.pixels()
    except BadImage as error:
        assert error.reason.isprintable()  # noqa: PT017
        with pytest.raises(BadImage):
            open_picture(bytes(data), 1_000_000).pixels(bottom=20)
    else:
        assert (whole.dtype, whole.shape) == (torch.uint8, (3, opened.rows, opened.columns))
        assert torch.equal(opened.pixels(bottom=20)[:, :20], whole[:, :20])
        assert opened.pixels(Grid(9, 9)).shape[0] == 3


ENTRY = st.tuples(
    st.sampled_from([0x0100, 0x0112, 0x8769]), st.integers(0, 14), st.integers(0, 6), st.binary(min_size=4, max_size=4)
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(order=st.sampled_from("<>"), entries=st.lists(ENTRY, max_size=4), at=st.integers(8, 12), cut=st.integers(0, 30))
def test_any_exif_is_understood_as_by_pillow_or_left_to_it(
    order: str, entries: list[tuple[int, int, int, bytes]], at: int, cut: int
) -> None:
    whole = exif(order, *entries, at=at)
    data = encode(Image.new("L", (1, 1)), "JPEG", exif=b"Exif\0\0" + whole[: max(1, len(whole) - cut)])
    header = read_header(data)
    assert header is None or header[:3] == told_by_pillow(data)

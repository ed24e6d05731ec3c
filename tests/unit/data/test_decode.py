"""Every kind of picture becomes right RGB, or a reason; compared with Pillow and closed forms."""

from __future__ import annotations

import io
import struct
import threading
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tests.unit.data.pictures import encode, picture
from vit_cli.data.decode import BadImage, decode, from_array, open_picture, size_of, to_pixels
from vit_cli.section import Grid

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"
COLOURS = picture(0, (24, 16))


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def apart(a: Tensor, b: Tensor) -> int:
    assert a.shape == b.shape
    return int((a.int() - b.int()).abs().max())


@pytest.mark.case("I5")
@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_format_is_told_by_its_content(format: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(format, {})
    data = encode(COLOURS, format, **options)
    pixels = decode(data)
    assert (pixels.shape, pixels.dtype) == ((3, 16, 24), torch.uint8)
    assert apart(pixels, tensor(Image.open(io.BytesIO(data)))) <= 2


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_agree_with_pillow(subsampling: int, progressive: bool) -> None:
    smooth = picture(1, (5, 4)).resize((97, 61), Image.Resampling.BICUBIC)
    data = encode(smooth, "JPEG", subsampling=subsampling, progressive=progressive)
    assert apart(decode(data), tensor(Image.open(io.BytesIO(data)))) <= 2


def test_photos_agree_with_pillow() -> None:
    if not PHOTOS.is_dir():
        pytest.skip("the photos are not on this machine")
    for path in sorted(PHOTOS.glob("*.JPEG"))[:40]:
        image = ImageOps.exif_transpose(Image.open(path))
        assert apart(decode(path.read_bytes()), tensor(image)) <= 2, path


@pytest.mark.case("I7", "I9")
def test_grey_and_one_bit_become_equal_channels() -> None:
    grey, one_bit = COLOURS.convert("L"), COLOURS.convert("1")
    for image, data in ((grey, encode(grey)), (one_bit, encode(one_bit)), (grey, encode(grey, "JPEG", quality=100))):
        pixels = decode(data)
        assert torch.equal(pixels[0], pixels[1])
        assert torch.equal(pixels[1], pixels[2])
        assert apart(pixels, tensor(image)) <= 2


@pytest.mark.case("I7")
def test_transparency_is_laid_on_white() -> None:
    red_then_clear = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    red_then_clear.putpixel((1, 0), (0, 0, 0, 0))
    half_black = Image.new("LA", (1, 1), (0, 128))
    assert decode(encode(red_then_clear))[:, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    assert decode(encode(red_then_clear, "WEBP", lossless=True))[:, 0, 1].tolist() == [255, 255, 255]
    assert decode(encode(half_black)).flatten().tolist() == pytest.approx([127] * 3, abs=1)


@pytest.mark.case("I7")
def test_a_palette_with_transparency_is_laid_on_white_without_a_warning() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    plain, some_clear = encode(image), encode(image, transparency=bytes([255, 0, 255]))
    assert decode(plain)[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert decode(some_clear)[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]


@pytest.mark.case("I6")
def test_cmyk_becomes_rgb() -> None:
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for format in ("JPEG", "TIFF"):
        data = encode(ink, format)
        assert apart(decode(data), tensor(Image.open(io.BytesIO(data)))) <= 2
        assert decode(data)[:, 4, 4].tolist() == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.case("I8")
def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 0x8000, 0xFFFF]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        assert decode(encode(Image.fromarray(deep), format))[0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.case("I8")
def test_sixteen_bit_rgb_is_scaled_not_clipped() -> None:
    row = np.array([[0x1234, 0x8000, 0xFFFF]], dtype=">u2").tobytes()
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND")
    assert decode(data).flatten().tolist() == pytest.approx([0x12, 0x80, 0xFF], abs=1)


def test_floating_point_grey_is_refused() -> None:
    with pytest.raises(BadImage, match="neither 8 nor 16 bits"):
        decode(encode(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


@pytest.mark.case("I10")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_applied_to_every_format(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = picture(1, (3, 2)).resize((30, 20), Image.Resampling.BICUBIC)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(format, {})
    data = encode(smooth, format, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert apart(decode(data), tensor(upright)) <= 2
    assert decode(data).shape == ((3, 20, 30) if orientation < 5 else (3, 30, 20))
    opened = open_picture(data)
    assert (3, opened.rows, opened.columns) == decode(data).shape


@pytest.mark.case("I10")
def test_the_size_of_a_png_is_told_upright_wherever_it_says_how_it_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    late = encode(COLOURS)[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + chunk(b"IEND")
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    for data in (late, encode(COLOURS, exif=exif), encode(COLOURS, pnginfo=text)):
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        opened = open_picture(data)
        assert (opened.rows, opened.columns) == (24, 16) == (upright.height, upright.width)
        assert torch.equal(opened.pixels(), tensor(upright))


@pytest.mark.case("I10")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rows_above_the_bottom_and_smaller_sizes_are_meant_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = picture(1, (3, 2)).resize((200, 160), Image.Resampling.BICUBIC)
    opened = open_picture(encode(smooth, "JPEG", exif=exif))
    whole, small = opened.pixels(), opened.pixels(Grid(opened.rows // 4, opened.columns // 4))
    assert torch.equal(opened.pixels(bottom=50)[:, :50], whole[:, :50])
    assert small.shape == (3, opened.rows // 4, opened.columns // 4)
    assert opened.pixels(Grid(opened.rows // 4 + 1, 1)).shape == (3, opened.rows // 2, opened.columns // 2)
    means = whole.float().unflatten(2, (-1, 4)).mean(3).unflatten(1, (-1, 4)).mean(2)
    assert (small - means).abs().max() < 6


def test_a_header_is_read_and_judged_without_the_pixels() -> None:
    for format in ("JPEG", "PNG"):
        data = encode(COLOURS, format)
        data = data[: -len(data) // 5]
        assert (open_picture(data).rows, open_picture(data).columns) == (16, 24)
        with pytest.raises(BadImage, match="damaged"):
            open_picture(data).pixels()


def test_an_array_is_a_picture_too() -> None:
    for array in (np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(18, dtype=np.uint8).reshape(2, 3, 3)):
        opened = open_picture(array)
        assert (opened.rows, opened.columns) == (2, 3)
        assert torch.equal(opened.pixels(Grid(1, 1), 1), from_array(array))


@pytest.mark.case("I11")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 60])
def test_broken_exif_does_no_harm(exif: bytes) -> None:
    assert decode(encode(COLOURS, "JPEG", exif=exif)).shape == (3, 16, 24)


@pytest.mark.case("I12")
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    assert apart(decode(data), tensor(frames[0])) <= 2


@pytest.mark.case("I13")
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_thin_pictures_keep_their_shape(size: tuple[int, int]) -> None:
    for format in ("PNG", "JPEG"):
        assert decode(encode(picture(0, size), format)).shape == (3, size[1], size[0])


@pytest.mark.case("I1", "I2", "I3", "I4", "I16")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not an image"),
        (b"<!DOCTYPE html><html>404</html>", "unsupported format: HTML"),
        (b"  \n<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported format: SVG"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "unsupported format: HEIC"),
        (b"\0\0\0\x18ftypavif" + b"\0" * 40, "unsupported format: AVIF"),
        (b"8BPS\0\1" + b"\0" * 40, "unsupported format: PSD"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported format: EPS"),
        (encode(COLOURS)[:20], "damaged: "),
        (encode(COLOURS)[:-200], "damaged: "),
        (encode(COLOURS, "JPEG")[:300], "damaged: "),
        (encode(COLOURS, "JPEG")[:-2], "damaged: "),
        (encode(COLOURS, "GIF")[:40], "damaged: "),
        (encode(COLOURS, "WEBP")[:60], "damaged: "),
        (encode(COLOURS, "TIFF")[:60], "damaged: "),
        (encode(COLOURS, "PPM"), "not an image"),
    ],
)
def test_what_is_no_picture_gets_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage) as error:
        decode(data)
    assert error.value.reason.startswith(reason)
    assert error.value.reason.isprintable()


@pytest.mark.case("I14")
def test_a_huge_picture_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND")
    tracemalloc.start()
    for read in (decode, size_of):
        with pytest.raises(BadImage, match="too many pixels: 60000x60000"):
            read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_the_limit_is_that_of_the_recipe() -> None:
    with pytest.raises(BadImage, match=r"24x16, data\.max_pixels is 383"):
        decode(encode(COLOURS), max_pixels=383)
    assert decode(encode(COLOURS), max_pixels=384).shape == (3, 16, 24)


def test_decoding_leaves_the_settings_of_the_process_alone_with_many_threads() -> None:
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    data = [encode(COLOURS, "JPEG"), encode(COLOURS.convert("P"), transparency=b"\0\1"), b"junk"] * 20

    def work() -> None:
        for item in data:
            try:
                decode(item)
            except BadImage:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


def test_pixels_become_channels_of_their_own_memory() -> None:
    grey, colour = np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert from_array(grey).tolist() == [grey.tolist()] * 3
    assert torch.equal(to_pixels(colour), torch.from_numpy(colour).permute(2, 0, 1))
    from_array(colour).zero_()
    assert colour.sum() > 0


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_colours_of_a_pixel_lie_side_by_side(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for data in (encode(COLOURS, "JPEG", exif=exif), encode(COLOURS, exif=exif), encode(COLOURS.convert("L"), "JPEG")):
        assert decode(data).stride()[0] == 1


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

"""The matrix's pictures (I): what is broken is told from what is only unusual, and nothing grey is learned from."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.integration.conftest import Run, write_photos
from tests.unit.data.pictures import Broken, Whole, encode, look_with, picture
from vit_cli.augment.crops import RandomResizedCrop
from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.augment.transforms import build_augmentation
from vit_cli.data.decode import BadImage, decode
from vit_cli.data.folder import Folder
from vit_cli.data.loader import EvalBatches, TrainBatches
from vit_cli.data.order import Order
from vit_cli.data.samples import Samples
from vit_cli.data.synthetic import Synthetic
from vit_cli.errors import DataError
from vit_cli.keys import image_keys
from vit_cli.section import Grid

SMOOTH = picture(1, (5, 4)).resize((64, 48), Image.Resampling.BICUBIC)
RECIPE = """\
model: {{name: vit, width: 16, depth: 1, heads: 2, patch: 16, res: 32, pool: gap}}
optim: {{name: adamw, lr: 1e-3}}
data: {{train: {{name: folder, root: {root}}}, val: {{name: folder, root: {val}}}, workers: 0}}
train: {{steps: 12, batch_size: 8, precision: fp32}}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A recipe that sees each of 36 pictures twice or more, with images of its own to judge by."""
    path = tmp_path / "small.yaml"
    root, val = write_photos(tmp_path / "photos"), write_photos(tmp_path / "val", per_class=2)
    path.write_text(RECIPE.format(root=root, val=val))
    return path


def as_it_is(pixels: torch.Tensor) -> torch.Tensor:
    return pixels


@pytest.mark.case("I2")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_a_jpeg_that_is_cut_is_bad_and_never_half_grey(progressive: bool, share: float) -> None:
    whole = encode(SMOOTH, "JPEG", progressive=progressive)
    with pytest.raises(BadImage, match="damaged"):
        decode(whole[: int(share * len(whole))])


@pytest.mark.case("I3")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_last_two_bytes_is_bad_on_every_path(mode: str) -> None:
    whole = encode(SMOOTH.convert(mode), "JPEG")
    assert whole[-2:] == b"\xff\xd9"
    assert decode(whole).shape == (3, 48, 64)
    with pytest.raises(BadImage, match="damaged"):
        decode(whole[:-2])


@pytest.mark.case("I5")
def test_a_png_by_the_name_of_a_jpeg_is_learned_from(vit: Run, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos/red/000.jpg"
    path.write_bytes(encode(SMOOTH))
    path.rename(path.with_name("n02105855_2933.JPEG"))
    assert vit("train", small, "--out", tmp_path / "run", "-q").code == 0
    assert not (tmp_path / "run/bad_images.jsonl").exists()


@pytest.mark.case("I6")
@pytest.mark.parametrize("rgb", [(255, 0, 0), (40, 160, 90), (250, 250, 250), (12, 20, 60)])
def test_the_inks_of_adobes_jpegs_become_the_right_colours(rgb: tuple[int, int, int]) -> None:
    # Photoshop stores inks upside down: 255 is none. In YCCK the first three, as they lie there, are turned to YCbCr once more.
    def store(*bands: Image.Image) -> bytes:
        inverted = [Image.eval(band, lambda x: 255 - x) for band in bands]  # Pillow inverts when it writes
        return encode(Image.merge("CMYK", inverted), "JPEG", quality=100, subsampling=0)

    plain, no_black = Image.new("RGB", (16, 16), rgb), Image.new("L", (16, 16), 255)
    cmyk = store(*plain.split(), no_black)
    raw = store(*Image.eval(plain, lambda x: 255 - x).convert("YCbCr").split(), no_black)
    at = raw.index(b"Adobe") + 11
    assert raw[at] == 0
    ycck = raw[:at] + b"\2" + raw[at + 1 :]
    for data in (cmyk, ycck):
        assert decode(data)[:, 8, 8].tolist() == pytest.approx(rgb, abs=4)


@pytest.mark.case("I11")
def test_a_huge_broken_colour_profile_does_no_harm_and_warns_of_nothing() -> None:
    noise = np.random.default_rng(0).bytes(2_000_000)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + noise[:30_000]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for format, options in (("JPEG", {"exif": exif}), ("WEBP", {}), ("TIFF", {})):
            assert decode(encode(SMOOTH, format, icc_profile=noise, **options)).shape == (3, 48, 64)
        assert decode(encode(SMOOTH, "PNG", icc_profile=noise[:500_000])).shape == (3, 48, 64)
        with pytest.raises(BadImage, match="too large"):  # in a PNG it is packed, and may unpack to anything
            decode(encode(SMOOTH, "PNG", icc_profile=bytes(5_000_000)))


@pytest.mark.case("I12")
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_the_later_frames_of_an_animation_are_not_even_decoded(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), (5 * i, 0, 0)) for i in range(50)]
    whole = encode(frames[0], format, save_all=True, append_images=frames[1:])
    assert decode(whole)[0].max() <= 4


@pytest.mark.case("I13")
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_thin_pictures_become_whole_inputs(size: tuple[int, int]) -> None:
    pixels = decode(encode(picture(0, size)))
    learn = build_augmentation([RandomResizedCrop(scale=(0.08, 1.0))], Grid(32, 32), Preprocess())
    judge = build_eval_transform(Preprocess(crop=0.875), Grid(32, 32))
    for drawn in learn.draw(image_keys(0, np.zeros(20, dtype=np.int64), np.arange(20))):
        assert learn.look(*pixels.shape[1:], drawn).take(pixels).shape == (3, 32, 32)
    assert judge(pixels).shape == (3, 32, 32)


@pytest.mark.case("I14")
@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "jpeg"])
def test_a_bomb_of_any_format_takes_no_memory(kind: str) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    side = 60_000
    gif_frame = b"," + struct.pack("<4HB", 0, 0, side, side, 0) + b"\x08" + bytes(50)
    bomb = {
        "png": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(2_000_000))),
        "gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0xF7, 0, 0) + bytes(768) + gif_frame,
        "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0),
        "jpeg": encode(SMOOTH, "JPEG").replace(struct.pack(">HH", 48, 64), struct.pack(">HH", side, side)),
    }[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadImage, match="too many pixels: 60000x60000"):
        decode(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KiB"


@pytest.mark.case("I15")
@pytest.mark.slow
def test_forty_million_pixels_of_progressive_jpeg_decode_in_time() -> None:
    data = encode(picture(1, (8, 5)).resize((8000, 5000), Image.Resampling.BILINEAR), "JPEG", progressive=True)
    begin = time.monotonic()
    assert decode(data).shape == (3, 5000, 8000)
    assert time.monotonic() - begin < 20


@pytest.mark.case("I16")
def test_only_the_first_of_a_thousand_pages_is_read() -> None:
    pages = [Image.new("L", (16, 16), i % 251) for i in range(1000)]
    whole = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    begin = time.monotonic()
    assert decode(whole).max() == 0
    assert time.monotonic() - begin < 1


@pytest.mark.case("I16")
@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        ("psd", b"8BPS\0\1" + b"\0" * 40, "PSD"),
        ("heic", b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC"),
        ("pdf", b"%PDF-1.7\n", "PDF"),
        ("jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40, "JPEG 2000"),
    ],
)
def test_a_format_that_is_not_read_is_named(
    vit: Run, small: Path, tmp_path: Path, name: str, content: bytes, format: str
) -> None:
    (tmp_path / "val/red/001.jpg").write_bytes(content)
    result = vit("train", small, "--out", tmp_path / "run", "-q")
    assert result.code == 3
    assert f"001.jpg can't be evaluated: unsupported format: {format}" in result.err


@pytest.mark.case("I17")
def test_one_broken_picture_in_twenty_is_too_many_unless_the_recipe_allows_it(
    vit: Run, small: Path, tmp_path: Path
) -> None:
    broken = [b"", b"<html>404</html>"]
    for number, content in enumerate(broken):
        (tmp_path / f"photos/red/{number:03d}.jpg").write_bytes(content)
    result = vit("train", small, "--out", tmp_path / "run", "-q")
    assert result.code == 3
    assert "2 of 36 training images are broken, at most 1 may be" in result.err
    assert "1 empty file" in result.err
    assert "1 unsupported format" in result.err
    assert vit("train", small, "data.max_bad=0.06", "--out", tmp_path / "again", "-q").code == 0
    lines = [json.loads(line) for line in (tmp_path / "again/bad_images.jsonl").read_text().splitlines()]
    assert sorted(line["reason"] for line in lines) == ["empty file", "unsupported format: HTML"]


@pytest.mark.case("I17")
def test_pictures_that_are_all_broken_end_the_run_at_once(vit: Run, small: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "photos").rglob("*.jpg"):
        path.write_bytes(b"not a picture")
    begin = time.monotonic()
    result = vit("train", small, "data.max_bad=1", "--out", tmp_path / "run", "-q")
    assert result.code == 3
    assert "training images drawn in a row are broken" in result.err
    assert "not an image" in result.err
    assert time.monotonic() - begin < 60


class Shaky(Broken):
    """Samples whose storage fails a few times before it gives an image, always in the same way."""

    def __init__(self, base: Samples, failures: int, number: int) -> None:
        super().__init__(base, {})
        self.failures, self.number = failures, number
        self.asked = 0

    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        if index == 3:
            self.asked += 1
            if self.asked <= self.failures:
                raise OSError(self.number, os.strerror(self.number))
        return self.base.read(index)


def batches(samples: Samples) -> Iterator[tuple[str, ...]]:
    """Give the reasons of the broken images of one epoch."""
    for batch in TrainBatches(samples, Order(len(samples), 0, 10), Whole(), steps=range(2)):
        yield tuple(bad.reason for bad in batch.bad)


@pytest.mark.case("I19")
def test_storage_that_fails_twice_is_asked_a_third_time_and_nothing_is_lost() -> None:
    samples = Shaky(Synthetic(images=20, size=8).open(), failures=2, number=errno.EIO)
    begin = time.monotonic()
    assert list(batches(samples)) == [(), ()]
    assert samples.asked == 3
    assert 0.4 < time.monotonic() - begin < 10, "it was waited for"


@pytest.mark.case("I19")
def test_storage_that_fails_three_times_costs_this_image_alone() -> None:
    samples = Shaky(Synthetic(images=20, size=8).open(), failures=3, number=errno.EIO)
    assert sorted(batches(samples)) == [(), ("unreadable: Input/output error",)]
    judged = Shaky(Synthetic(images=20, size=8).open(), failures=3, number=errno.EIO)
    with pytest.raises(DataError, match="image 3 can't be evaluated: unreadable: Input/output error"):
        list(EvalBatches(judged, look_with(as_it_is), batch_size=5))


@pytest.mark.case("I19")
def test_a_forbidden_file_is_not_waited_for() -> None:
    samples = Shaky(Synthetic(images=20, size=8).open(), failures=1000, number=errno.EACCES)
    assert sorted(batches(samples)) == [(), ("unreadable: Permission denied",)]
    assert samples.asked == 1


@pytest.mark.case("I14")
def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(encode(SMOOTH))
    with (tmp_path / "cat/0.png").open("r+b") as file:
        file.truncate(10 * 2**30)  # takes no space
    samples = Folder(root=tmp_path).open()
    with pytest.raises(OSError, match="File too large"):
        samples.read(0)
    assert samples.read(1) == encode(SMOOTH)


@pytest.mark.case("I20")
def test_pictures_of_any_name_are_learned_from_and_named_in_plain_letters(
    vit: Run, small: Path, tmp_path: Path
) -> None:
    names = [b"\xff\xfe", "🐈".encode(), b"new\nline", b"\x1b[31mred\x1b]0;title\x07", b"x" * 251]
    folder = os.fsencode(tmp_path / "photos/red")
    for name in names:
        Path(os.fsdecode(folder + b"/" + name + b".png")).write_bytes(b"broken")
    result = vit("train", small, "data.max_bad=1", "train.steps=20", "--out", tmp_path / "run")
    assert result.code == 0, result.err
    log = (tmp_path / "run/bad_images.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert len(lines) == len(names)
    assert all(line["path"].isprintable() for line in lines)
    for text in (log, result.err, (tmp_path / "run/train.log").read_text()):
        assert "\x1b" not in text
        assert "\x07" not in text


@pytest.mark.case("I20")
def test_a_name_that_commands_a_terminal_is_harmless_in_an_error(vit: Run, small: Path, tmp_path: Path) -> None:
    (tmp_path / "val/red/\x1b[2J\x1b]0;owned\x07.png").write_bytes(b"broken")
    result = vit("train", small, "--out", tmp_path / "run", "-q")
    assert result.code == 3
    assert "\\x1b[2J\\x1b]0;owned\\x07.png can't be evaluated" in result.err
    assert "\x1b" not in result.err


@pytest.mark.parametrize("size", [(64, 48), (1, 1)])
def test_encode_and_decode_agree_on_what_these_tests_start_from(size: tuple[int, int]) -> None:
    image = SMOOTH.resize(size)
    assert decode(encode(image)).permute(1, 2, 0).tolist() == np.asarray(Image.open(io.BytesIO(encode(image)))).tolist()

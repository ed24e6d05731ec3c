"""A look at every image: what is found, with and without workers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.pictures import KINDS, Broken, encode, picture
from vit_cli.data.decode import MAX_PIXELS, to_pixels
from vit_cli.data.duplicates import Duplicates, find_duplicates
from vit_cli.data.samples import Files, PackedNames, Pixels, Samples
from vit_cli.data.survey import NAMED, Look, Survey, hash_pixels, look_at, probe_sizes

pytestmark = pytest.mark.slow


class Pictures:
    """Encoded pictures in memory."""

    def __init__(self, contents: list[bytes]) -> None:
        self.contents = contents
        self.labels = np.zeros(len(contents), dtype=np.int64)
        self.classes = ("one",)

    def __len__(self) -> int:
        return len(self.contents)

    def read(self, index: int) -> bytes:
        return self.contents[index]

    def name(self, index: int) -> str:
        return f"picture {index}"

    def key(self, index: int) -> str:
        return str(index)


def look(samples: object, workers: int = 0, max_pixels: int = MAX_PIXELS) -> Survey:
    places = np.arange(len(samples))
    return look_at("train", samples, places, workers=workers, max_pixels=max_pixels, told=lambda _: None)


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image, "JPEG", exif=exif.tobytes())


def test_sizes_are_of_the_upright_picture_and_kinds_are_told() -> None:
    wide = picture(0, (40, 24))
    contents = [encode(wide, "JPEG"), turned(wide), encode(wide.convert("P")), encode(wide.convert("L"), "WEBP")]
    seen = look(Pictures(contents))
    assert list(zip(seen.rows.tolist(), seen.columns.tolist(), strict=True)) == [(24, 40), (40, 24), (24, 40), (24, 40)]
    assert seen.kinds == {"JPEG RGB": 2, "PNG P": 1, "WEBP RGB": 1}


def test_every_broken_image_is_counted_with_its_reason(tmp_path: object) -> None:
    whole = encode(picture(0, (64, 64)), "JPEG")
    contents = [whole, b"", whole[: len(whole) // 2], b"<html>", whole]
    seen = look(Pictures(contents))
    assert seen.is_read.tolist() == [True, False, False, False, True]
    assert seen.reasons == {"empty file": 1, "damaged": 1, "unsupported format": 1}
    assert [bad.path for bad in seen.bad] == ["picture 1", "picture 2", "picture 3"]
    missing = Files(str(tmp_path), PackedNames([b"gone.jpg"]), np.zeros(1, dtype=np.int64), ["one"])
    assert look(missing).reasons == {"unreadable": 1}
    assert look(Pictures([whole]), max_pixels=4095).reasons == {"too many pixels": 1}


def test_workers_change_nothing_and_every_image_is_told() -> None:
    samples = Pictures([encode(picture(number)) for number in range(70)])
    counts: list[int] = []
    two = look_at("train", samples, np.arange(70), workers=2, max_pixels=MAX_PIXELS, told=counts.append)
    one = look(samples)
    assert (two.hashes == one.hashes).all()
    assert (two.rows == one.rows).all()
    assert two.kinds == one.kinds
    assert sum(counts) == 70
    assert len(set(one.hashes.tolist())) == 70


def test_a_sample_is_told_by_its_places() -> None:
    samples = Broken(Pictures([encode(picture(number)) for number in range(40)]), {39: b"", 5: b""})
    seen = look_at("train", samples, np.array([0, 39]), workers=0, max_pixels=MAX_PIXELS, told=lambda _: None)
    assert [bad.index for bad in seen.bad] == [39]


def test_names_of_broken_images_are_bounded_and_their_number_is_not() -> None:
    seen = look(Pictures([b""] * (NAMED + 100)))
    assert len(seen.bad) == NAMED
    assert seen.reasons == {"empty file": NAMED + 100}


def test_equal_pixels_have_one_hash_however_they_are_stored() -> None:
    image = picture(3, (20, 12))
    stored = [encode(image), encode(image, "BMP"), encode(image, "WEBP", lossless=True), encode(image, optimize=True)]
    assert len({hash_pixels(to_pixels(content)) for content in stored}) == 1
    assert len(set(stored)) == 4


def test_the_same_values_in_another_shape_are_another_picture() -> None:
    flat = np.zeros((4, 6, 3), dtype=np.uint8)
    assert hash_pixels(to_pixels(flat)) != hash_pixels(to_pixels(flat.reshape(6, 4, 3)))


def test_pixels_in_memory_need_no_header() -> None:
    grey = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    samples = Pixels("grey", grey, np.zeros(2, dtype=np.int64), ["one"])
    assert look(samples).kinds == {"grey pixels": 2}
    assert len(probe_sizes(samples, MAX_PIXELS)) == 0


def test_a_probe_reads_headers_of_encoded_pictures_alone() -> None:
    whole = encode(picture(0, (64, 48)), "JPEG")
    samples = Pictures([whole[: len(whole) // 2], b"", turned(picture(0, (64, 48)))])
    assert probe_sizes(samples, MAX_PIXELS).tolist() == [[48, 64], [64, 48]]


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_gives_its_chunk(number: int) -> None:
    samples = Pictures([encode(picture(at)) for at in range(40)])
    seen = Look(samples, np.arange(40), MAX_PIXELS)(number)
    assert len(seen.hashes) == (32, 8)[number]
    assert seen.seconds > 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_can_be_looked_at(kind: str, open_kind: Callable[[str], Samples]) -> None:
    samples = open_kind(kind)
    seen = look(samples)
    assert seen.is_read.all()
    assert seen.kinds.total() == 37
    assert find_duplicates([seen]) == Duplicates()

"""JPEGs that leave the workers encoded become the images that workers would have made of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.data.pictures import encode
from vit_cli.augment.crops import RandomCrop, RandomResizedCrop
from vit_cli.augment.geometry import Flip
from vit_cli.augment.preprocess import Preprocess
from vit_cli.augment.transforms import Augmentation, Transform, build_augmentation
from vit_cli.data.batch import Batch
from vit_cli.data.decode import open_picture
from vit_cli.data.encoded import decode_ahead, decode_batch, is_plain
from vit_cli.data.folder import Folder
from vit_cli.data.loader import TrainBatches
from vit_cli.data.order import Order
from vit_cli.data.samples import Samples
from vit_cli.section import Grid

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
RES = Grid(24, 20)
QUANTISING = b"\xff\xdb"


def draw_photo(seed: int, columns: int, rows: int) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((columns, rows), Image.Resampling.BICUBIC)


def without_tables(jpeg: bytes) -> bytes:
    """Take the first quantisation tables out, which leaves a header that looks sound."""
    at = jpeg.index(QUANTISING)
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """Pictures of two classes: plain JPEGs, some in colours that are not halved, others, and one that no decoder takes."""
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in range(20):
        photo, file = draw_photo(number, 50 + number, 70 - number), tmp_path / f"{number % 2}/{number:02d}"
        content = encode(photo, "JPEG", quality=85 + number % 10, subsampling=number % 3)
        content = encode(photo, "PNG") if number == 3 else content
        content = encode(photo, "JPEG", progressive=True) if number == 6 else content
        content = encode(photo, "JPEG", exif=turned) if number == 9 else content
        content = without_tables(content) if number == 12 else content
        content = encode(photo.convert("L"), "JPEG") if number == 15 else content
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".jpg").write_bytes(content)
    return Folder(root=tmp_path).open()


def augment(*items: Transform) -> Augmentation:
    return build_augmentation(items, RES, Preprocess())


@pytest.mark.parametrize("items", [(RandomResizedCrop(),), (RandomCrop(),), (Flip(), RandomResizedCrop())])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_images_are_those_of_a_worker_that_decodes(
    samples: Samples, items: tuple[Transform, ...], workers: int
) -> None:
    batches = partial(
        TrainBatches, samples, Order(len(samples), 0, 8), augment(*items), steps=range(6), changes=False, res=RES
    )
    finish = partial(decode_batch, device=torch.device("cpu"), res=RES, make=batches().make_of)
    encoded = list(batches(decodes=False, workers=workers))
    assert sum(len(batch.encoded.places) for batch in encoded if batch.encoded) > 30
    for here, there in zip(batches(), decode_ahead(encoded, finish), strict=True):
        assert torch.equal(here.images, there.images)
        assert torch.equal(here.labels, there.labels)
        assert here.bad == there.bad
        assert there.encoded is None
    assert any(batch.bad for batch in batches())


def test_only_what_every_decoder_reads_alike_is_left_encoded() -> None:
    photo = draw_photo(0, 40, 30)
    jpeg = encode(photo, "JPEG")
    turned = Image.Exif()
    turned[0x0112] = 6
    assert is_plain(open_picture(jpeg))
    assert is_plain(open_picture(encode(photo.convert("L"), "JPEG")))
    others = {
        "cut": jpeg[:-200],
        "PNG": encode(photo),
        "CMYK": encode(photo.convert("CMYK"), "JPEG"),
        "RGB": encode(photo, "JPEG", keep_rgb=True),
        "progressive": encode(photo, "JPEG", progressive=True),
        "turned": encode(photo, "JPEG", exif=turned),
        "marks": encode(photo, "JPEG", restart_marker_rows=1),
    }
    assert [what for what, content in others.items() if is_plain(open_picture(content))] == []


def test_batches_are_decoded_in_order_and_errors_come_where_they_are_due() -> None:
    numbers, images = torch.arange(3), torch.zeros(3, 3, 2, 2, dtype=torch.uint8)

    def fail_at_three(batch: Batch) -> Batch:
        if batch.labels[0] == 3:
            raise OSError("lost")
        return batch

    batches = (Batch(images, numbers + number, numbers, numbers) for number in range(5))
    decoded = decode_ahead(batches, fail_at_three)
    assert [int(next(decoded).labels[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="lost"):
        next(decoded)

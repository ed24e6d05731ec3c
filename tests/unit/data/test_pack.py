"""Packs: nothing is lost or changed, the same bytes however they came about, and readable by others."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import tarfile
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.data.packs import content_of, pack, small_folder
from tests.unit.data.pictures import Jitter, encode, picture, write_folder
from vit_cli.data.digits import Digits
from vit_cli.data.folder import Folder
from vit_cli.data.hf import HuggingFace
from vit_cli.data.loader import TrainBatches
from vit_cli.data.open import open_splits
from vit_cli.data.order import Order, Permutation
from vit_cli.data.pack import claimed
from vit_cli.data.pack_files import written_aside
from vit_cli.data.samples import Samples, subset
from vit_cli.data.shards import Shards
from vit_cli.data.source import source_from_path
from vit_cli.data.split import Parting
from vit_cli.data.synthetic import Synthetic
from vit_cli.data.table import Table
from vit_cli.errors import DataError, TrainingError, UsageError
from vit_cli.keys import derive

pytestmark = pytest.mark.slow  # dozens of short ones that read and write files: too much for `make check`


def opened(folder: Path) -> Samples:
    return Shards(path=str(folder)).open()


def keys(samples: Samples) -> list[str]:
    return [samples.key(index) for index in range(len(samples))]


def photo(number: int, size: tuple[int, int], **options: object) -> bytes:
    """A JPEG that has large shapes, as photos do."""
    small = Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return encode(small.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95, **options)


def test_a_pack_holds_the_very_files_with_their_classes(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    pack(source, tmp_path / "pack")
    before, now = source.open(), opened(tmp_path / "pack")
    assert now.classes == before.classes
    rows = {key: row for row, key in enumerate(keys(before))}
    assert sorted(rows) == sorted(keys(now))
    for index, key in enumerate(keys(now)):
        assert (now.read(index), now.labels[index]) == (before.read(rows[key]), before.labels[rows[key]])


def test_the_order_is_the_permutation_of_the_seed(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    found = {}
    for seed in (0, 1):
        pack(source, tmp_path / str(seed), seed=seed)
        found[seed] = keys(opened(tmp_path / str(seed)))
        order = Permutation(37, derive("pack", seed))(np.arange(37))
        assert found[seed] == [keys(source.open())[row] for row in order]
    assert found[0] != found[1]


@pytest.mark.parametrize("kind", ["digits", "synthetic", "jpeg"])
def test_pixels_that_were_never_files_stay_what_they_are(tmp_path: Path, kind: str) -> None:
    synthetic = Synthetic(classes=3, images=50, size=(8, 9), jpeg=kind == "jpeg").open()
    before = subset(Digits().open(), np.arange(50)) if kind == "digits" else synthetic
    pack(Failing(before), tmp_path / "pack")
    now = opened(tmp_path / "pack")
    for index in range(50):
        row = int(now.key(index))
        content, expected = now.read(index), before.read(row)
        if isinstance(expected, bytes):
            assert content == expected
        else:
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)
        assert now.labels[index] == before.labels[row]


def test_training_on_a_pack_sees_the_very_pixels_of_training_on_its_source(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    pack(source, tmp_path / "pack")
    before, packed = source.open(), opened(tmp_path / "pack")
    rows = {key: row for row, key in enumerate(keys(packed))}
    now = subset(packed, np.array([rows[key] for key in keys(before)]))
    batches = [list(TrainBatches(samples, Order(37, 3, 10), Jitter(), steps=range(9))) for samples in (before, now)]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["wds", "arrow"])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path, format: str) -> None:
    source = small_folder(tmp_path / "p")
    one = pack(source, tmp_path / "one", format=format)
    three = pack(source, tmp_path / "three", workers=3, format=format)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "three")
    assert len(one.index.shards) > 3
    assert one.index.fingerprint == three.index.fingerprint


def test_the_images_held_out_of_a_pack_are_those_held_out_of_its_source(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    pack(source, tmp_path / "pack")
    before = open_splits(source, None, Parting(0.3))
    now = open_splits(Shards(path=str(tmp_path / "pack")), None, Parting(0.3))
    assert sorted(keys(before.val)) == sorted(keys(now.val))
    assert before.held == now.held


def test_large_pictures_are_reduced_and_small_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    sizes = {"wide": (200, 100), "tall": (90, 180), "small": (64, 40), "even": (64, 64)}
    for number, (name, size) in enumerate(sizes.items()):
        (tmp_path / "p" / "a" / f"{name}.jpg").write_bytes(photo(number, size))
    source = Folder(root=tmp_path / "p")
    pack(source, tmp_path / "pack", short_side=64, quality=95)
    before, now = source.open(), opened(tmp_path / "pack")
    found = {key: now.read(index) for index, key in enumerate(keys(now))}
    images = {key: Image.open(io.BytesIO(content)) for key, content in found.items()}
    assert {key: image.size for key, image in images.items()} == {
        "a/wide.jpg": (128, 64),
        "a/tall.jpg": (64, 128),
        "a/small.jpg": (64, 40),
        "a/even.jpg": (64, 64),
    }
    for index, key in enumerate(keys(before)):
        if images[key].size == Image.open(io.BytesIO(before.read(index))).size:
            assert found[key] == before.read(index)
            continue
        assert images[key].layer[0][1:3] == (2, 2)  # type: ignore[attr-defined] - colours have half the size: 4:2:0
        whole = Image.open(io.BytesIO(before.read(index))).resize(images[key].size, Image.Resampling.BICUBIC)
        difference = np.abs(np.asarray(images[key]).astype(int) - np.asarray(whole).astype(int))
        assert difference.mean() < 2


def test_a_lying_photo_stands_up_when_it_is_reduced(tmp_path: Path) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "p" / "a" / "x.jpg").write_bytes(photo(0, (200, 100), exif=exif.tobytes()))
    pack(Folder(root=tmp_path / "p"), tmp_path / "pack", short_side=50)
    image = Image.open(io.BytesIO(opened(tmp_path / "pack").read(0)))
    assert image.size == (50, 100)
    assert image.getexif().get(0x0112, 1) == 1


def test_others_read_the_tars_as_webdataset_writes_them(tmp_path: Path) -> None:
    """By its convention, a key ends at the first dot, and the members of a sample follow each other."""
    root = write_folder(tmp_path / "p", {"a.b": 3, "c d": 3})
    (root / "a.b" / "v1.2.png").write_bytes(encode(picture(77)))
    (root / "c d" / "000.png").rename(root / "c d" / os.fsdecode(b"caf\xe9.png"))
    source = Folder(root=root)
    pack(source, tmp_path / "pack")
    before, seen = source.open(), {}
    for path in sorted((tmp_path / "pack").glob("*.tar")):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            for first, second in zip(names[::2], names[1::2], strict=True):
                (key, ending), (same, cls) = first.split(".", 1), second.split(".", 1)
                assert (key, cls) == (same, "cls")
                assert ending in ("png", "jpg")
                files = [tar.extractfile(name) for name in (first, second)]
                content, label = (file.read() for file in files if file is not None)
                seen[unquote_to_bytes(key).decode("utf-8", "surrogateescape")] = (content, int(label))
    assert seen == {before.key(i): (before.read(i), before.labels[i]) for i in range(len(before))}


def test_a_picture_that_a_table_lists_twice_is_there_twice(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 3, "b": 3})
    names = ["a/000.png", "b/000.png", "a/000.png", "a/000.png"]
    with (tmp_path / "p" / "t.csv").open("w") as file:
        csv.writer(file).writerows([("image", "label"), *((name, name[0]) for name in names)])
    pack(Table(file=root / "t.csv"), tmp_path / "pack", shard_bytes=10**6)
    now = opened(tmp_path / "pack")
    assert sorted(keys(now)) == ["a/000.png", "a/000.png#2", "a/000.png#3", "b/000.png"]
    assert sorted(now.labels.tolist()) == [0, 0, 0, 1]


def test_hugging_face_reads_the_parquet_files(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    source = small_folder(tmp_path / "p")
    result = pack(source, tmp_path / "pack", format="arrow")
    assert len(result.index.shards) > 1
    section, val = source_from_path(tmp_path / "pack")
    assert (section["name"], val) == ("hf", None)
    before, now = source.open(), HuggingFace(path=section["path"]).open()
    assert now.classes == before.classes
    assert sorted((now.read(i), int(now.labels[i])) for i in range(37)) == sorted(
        (before.read(i), int(before.labels[i])) for i in range(37)
    )


def test_names_that_are_not_utf8_are_written_into_parquet_with_escapes(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `hf` is not installed")
    root = write_folder(tmp_path / "p", {"a": 2, "b": 1})
    (root / "a" / "000.png").rename(root / "a" / os.fsdecode(b"caf\xe9.png"))
    (root / "a" / "001.JPG").rename(root / "a" / "caf\u00e9\u202f1.jpg")
    pack(Folder(root=root), tmp_path / "pack", format="arrow")
    rows = parquet.read_table(next((tmp_path / "pack").glob("*.parquet")))["image"].to_pylist()
    assert sorted(row["path"] for row in rows) == ["a/caf\\xe9.png", "a/caf\u00e9\u202f1.jpg", "b/000.png"]


@pytest.mark.slow
def test_datasets_opens_the_folder_of_parquet_files_as_it_is(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    pack(small_folder(tmp_path / "p"), tmp_path / "pack", format="arrow")
    table = datasets.load_dataset(str(tmp_path / "pack"), split="train")
    assert table.features["label"].names == ["cat", "dog"]
    assert len(table) == 37
    assert table[0]["image"].mode == "RGB"


@pytest.mark.case("S8")
def test_the_index_tells_counts_classes_and_checksums(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack", seed=5, short_side=32, quality=80)
    index = json.loads((tmp_path / "pack" / "index.json").read_text())
    assert (index["images"], index["classes"], index["counts"]) == (37, ["cat", "dog"], [12, 25])
    made = index["made"]
    assert (made["seed"], made["short_side"], made["quality"], made["bad"]) == (5, 32, 80, 0)
    for shard in index["shards"]:
        content = (tmp_path / "pack" / shard["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    for name, digest in index["tables"].items():
        assert hashlib.sha256((tmp_path / "pack" / f"{name}.bin").read_bytes()).hexdigest() == digest


class Interrupted(Exception):
    """Something ends the process."""


class Failing:
    """A source, itself opened, that fails at its n-th reading as if the process were killed there; counts readings."""

    title = "failing"

    def __init__(self, base: Samples, at: int = -1) -> None:
        self.base, self.at, self.reads = base, at, 0
        self.labels, self.classes = base.labels, base.classes

    def open(self) -> Samples:
        return self

    def __len__(self) -> int:
        return len(self.base)

    def read(self, index: int) -> bytes:
        self.reads += 1
        if self.reads == self.at:
            raise Interrupted
        return self.base.read(index)  # type: ignore[return-value]

    def name(self, index: int) -> str:
        return self.base.name(index)

    def key(self, index: int) -> str:
        return self.base.key(index)


@pytest.mark.parametrize("place", [1, 20, 36])
def test_a_pack_that_was_cut_short_goes_on_and_becomes_the_same(tmp_path: Path, place: int) -> None:
    samples = small_folder(tmp_path / "p").open()
    whole = pack(Failing(samples), tmp_path / "whole")
    with pytest.raises(Interrupted):
        pack(Failing(samples, 37 + place), tmp_path / "pack")  # all 37 are read before, to estimate their size
    again = Failing(samples)
    pack(again, tmp_path / "pack")
    assert content_of(tmp_path / "pack") == content_of(tmp_path / "whole")
    per_shard = whole.index.shards[0].images
    assert again.reads == 37 - (place - 1) // per_shard * per_shard


def test_a_half_written_shard_or_record_is_made_again(tmp_path: Path) -> None:
    samples = small_folder(tmp_path / "p").open()
    pack(Failing(samples), tmp_path / "whole")
    with pytest.raises(Interrupted):
        pack(Failing(samples, 37 + 36), tmp_path / "pack")
    shards = sorted((tmp_path / "pack").glob("*.tar"))
    shards[0].write_bytes(shards[0].read_bytes()[:-512])
    (tmp_path / "pack" / "parts" / "000001.json").write_text("{")
    (tmp_path / "pack" / "shard-000002.tar.part").write_bytes(b"half")
    pack(Failing(samples), tmp_path / "pack")
    assert content_of(tmp_path / "pack") == content_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.case("V2")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_a_pack_which_then_goes_on(tmp_path: Path, workers: int) -> None:
    source = small_folder(tmp_path / "p")
    pack(source, tmp_path / "whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, before[1]))
    try:
        with pytest.raises(TrainingError, match="can't be written: File too large"):
            pack(source, tmp_path / "pack", workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "pack").rglob("*.part"))
    pack(source, tmp_path / "pack")
    assert content_of(tmp_path / "pack") == content_of(tmp_path / "whole")


def break_pictures(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.slow
def test_broken_pictures_are_listed_and_left_out(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    break_pictures(tmp_path / "p", "cat/001.JPG", "dog/004.png")
    for workers in (1, 2):
        result = pack(source, tmp_path / str(workers), workers=workers, max_bad=0.06)
        assert (result.index.images, result.index.counts, result.facts()["bad"]) == (35, (11, 24), 2)
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2")
    listed = [json.loads(line) for line in (tmp_path / "1" / "bad.jsonl").read_text().splitlines()]
    assert {(Path(bad["path"]).name, bad["index"]) for bad in listed} == {("001.JPG", 1), ("004.png", 16)}
    assert all(bad["reason"].startswith("damaged: ") for bad in listed)
    assert not {"cat/001.JPG", "dog/004.png"} & set(keys(opened(tmp_path / "1")))


def test_too_many_broken_pictures_end_a_pack_until_they_are_allowed(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    break_pictures(tmp_path / "p", "cat/001.JPG", "dog/004.png")
    with pytest.raises(DataError, match=r"2 of \d+ images are broken, at most 1 of 37 may be"):
        pack(source, tmp_path / "pack")
    assert len((tmp_path / "pack" / "bad.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DataError, match="are broken"):
        pack(source, tmp_path / "pack", max_bad=0)
    assert pack(source, tmp_path / "pack", max_bad=0.1).index.images == 35


def test_a_source_of_broken_pictures_alone_is_an_error(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    for path in (tmp_path / "p").rglob("*.*"):
        path.write_bytes(b"<html>")
    with pytest.raises(DataError, match="no image that can be read"):
        pack(source, tmp_path / "pack", max_bad=1)


def test_only_an_unfinished_pack_of_the_same_is_gone_on_with(tmp_path: Path) -> None:
    samples = small_folder(tmp_path / "p").open()
    with pytest.raises(Interrupted):
        pack(Failing(samples, 60), tmp_path / "pack")
    before = content_of(tmp_path / "pack")
    for changes, words in (
        ({"seed": 1}, "another seed"),
        ({"short_side": 9, "quality": 50}, "another short_side, quality"),
        ({"shard_bytes": 5000}, "another shard_bytes"),
        ({"format": "arrow"}, "another format"),
    ):
        with pytest.raises(UsageError, match=words):
            pack(Failing(samples), tmp_path / "pack", **changes)
    with pytest.raises(UsageError, match="another source"):
        pack(Failing(subset(samples, np.arange(36))), tmp_path / "pack")
    assert content_of(tmp_path / "pack") == before
    pack(Failing(samples), tmp_path / "pack")
    with pytest.raises(UsageError, match="is a finished pack"):
        pack(Failing(samples), tmp_path / "pack")


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    before = content_of(tmp_path)
    with pytest.raises(UsageError, match="is not empty"):
        pack(source, tmp_path / "p")
    assert content_of(tmp_path) == before
    assert not (tmp_path / "p" / "parts").exists()


def test_two_processes_do_not_pack_into_one_folder(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    (tmp_path / "pack" / "parts").mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def hold() -> None:
        with claimed(tmp_path / "pack"):
            ready.set()
            done.wait(20)

    other = context.Process(target=hold)
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(UsageError, match="another process is packing"):
            pack(source, tmp_path / "pack")
    finally:
        done.set()
        other.join()
    assert pack(source, tmp_path / "pack").index.images == 37


@pytest.mark.parametrize(("kept", "told"), [(True, "is a finished pack"), (False, "another process is packing")])
def test_a_pack_that_another_process_ends_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, told: str
) -> None:
    """It may end after the folder was looked at and before the lock is taken; the lock it had may be gone or not."""
    source, lock = small_folder(tmp_path / "p"), fcntl.lockf
    pack(source, tmp_path / "whole")

    def end_another(*arguments: object) -> None:
        monkeypatch.setattr(fcntl, "lockf", lock)
        if kept:
            shutil.copytree(tmp_path / "whole", tmp_path / "pack", dirs_exist_ok=True)
        else:
            pack(source, tmp_path / "pack")
        lock(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "lockf", end_another)
    with pytest.raises(UsageError, match=told):
        pack(source, tmp_path / "pack", seed=1)
    left = content_of(tmp_path / "pack")
    left.pop("parts/lock", None)
    assert left == content_of(tmp_path / "whole")


def test_two_who_write_the_same_file_leave_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.bin"
    with written_aside(path) as one:
        one.write(b"from one")
        with written_aside(path) as other:
            other.write(b"the other")
        assert path.read_bytes() == b"the other"
    assert content_of(tmp_path) == {"labels.bin": b"from one"}


def test_too_large_pictures_are_broken_ones_of_a_pack(tmp_path: Path) -> None:
    samples = small_folder(tmp_path / "p").open()  # of 8 x 8, 8 x 9 and 8 x 10 pixels
    sizes = [np.prod(Image.open(io.BytesIO(samples.read(row))).size) for row in range(37)]  # type: ignore[arg-type]
    found = pack(Failing(samples), tmp_path / "pack", max_bad=1, max_pixels=72)
    assert found.index.images == sum(size <= 72 for size in sizes) < 37
    whole = pack(Failing(samples), tmp_path / "whole", max_pixels=80)
    assert whole.index.images == 37


def test_an_unfinished_pack_from_before_max_pixels_goes_on(tmp_path: Path) -> None:
    samples = small_folder(tmp_path / "p").open()
    with pytest.raises(Interrupted):
        pack(Failing(samples, 60), tmp_path / "pack")
    path = tmp_path / "pack" / "pack.json"
    plan = json.loads(path.read_text())
    del plan["options"]["max_pixels"]
    path.write_text(json.dumps(plan))
    with pytest.raises(UsageError, match="another max_pixels"):
        pack(Failing(samples), tmp_path / "pack", max_pixels=72)
    assert pack(Failing(samples), tmp_path / "pack").index.images == 37


@pytest.mark.slow
def test_shards_have_about_the_size_that_was_asked_for(tmp_path: Path) -> None:
    pack(Synthetic(classes=3, images=400, size=(40, 40)), tmp_path / "pack", shard_bytes=200_000)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "pack").glob("*.tar"))]
    assert len(sizes) > 5
    assert all(abs(size / 200_000 - 1) < 0.1 for size in sizes[:-1])


@pytest.mark.parametrize("below", ["inside", "cat/inside"])
def test_a_pack_into_its_own_source_is_refused(tmp_path: Path, below: str) -> None:
    root = write_folder(tmp_path / "photos", {"cat": 3, "dog": 3})
    with pytest.raises(UsageError, match="whose images it would join"):
        pack(Folder(root=root), root / below)
    assert sorted(entry.name for entry in root.iterdir()) == ["cat", "dog"]

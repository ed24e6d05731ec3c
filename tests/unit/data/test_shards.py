"""Indexed shards: random access, exactness, what an index must fit, and indexes for the tars of others."""

from __future__ import annotations

import gc
import json
import os
import pickle
import resource
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.packs import content_of, pack, samples_of, small_folder, write_tar
from tests.unit.data.pictures import Jitter, encode, picture
from vit_cli.data.bad import Bad
from vit_cli.data.fingerprint import differences, fingerprint
from vit_cli.data.loader import TrainBatches
from vit_cli.data.order import Order
from vit_cli.data.pack import Packed
from vit_cli.data.samples import View, subset
from vit_cli.data.shards import Shards, ShardSamples
from vit_cli.data.source import source_from_path
from vit_cli.data.split import hashes
from vit_cli.data.tar_import import Options, import_shards
from vit_cli.errors import DataError, UsageError
from vit_cli.keys import hash63

pytestmark = pytest.mark.slow  # dozens of short ones that read and write files: too much for `make check`


LONG = "a-folder-with-a-long-name/" * 9 + "picture-with-a-name-that-is-no-shorter-" * 3 + "end"


def opened(folder: Path) -> ShardSamples:
    return Shards(path=str(folder)).open()


def bring_in(source: Path, out: Path | None = None, workers: int = 1, **options: object) -> Packed:
    return import_shards(source, out, Options(workers=workers, **options), lambda _text: None)  # type: ignore[arg-type]


def keys(samples: ShardSamples) -> list[str]:
    return [samples.key(index) for index in range(len(samples))]


def test_a_path_with_an_index_is_a_source_of_shards(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "p")
    for name in ("train", "val"):
        pack(source, tmp_path / "packs" / name)
    assert source_from_path(tmp_path / "packs" / "train") == (
        {"name": "shards", "path": str(tmp_path / "packs" / "train")},
        None,
    )
    sections = source_from_path(tmp_path / "packs")
    assert [len(Shards(**section).open()) for section in sections if section] == [37, 37]


def test_a_pickled_source_is_small_and_maps_its_tables_anew(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack")
    samples = opened(tmp_path / "pack")
    samples.read(0)
    state = pickle.dumps(samples)
    assert len(state) < 2000
    again = pickle.loads(state)
    assert not again.labels.flags.owndata
    assert not again.labels.flags.writeable
    assert [again.read(i) for i in range(37)] == [samples.read(i) for i in range(37)]


@pytest.mark.slow
def test_few_files_stay_open_however_many_shards_there_are(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack", shard_bytes=5000)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(80, before[0]), before[1]))
    try:
        samples = opened(tmp_path / "pack")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    expected = [samples.read(index) for index in range(37)]
    assert len(samples.files) > 15
    if files:
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= files + 20  # noqa: PTH208
    with ThreadPoolExecutor(8) as pool:  # the cache of decoded images reads with threads
        rows = np.random.default_rng(0).integers(0, 37, 400).tolist()
        assert list(pool.map(samples.read, rows)) == [expected[row] for row in rows]


@pytest.mark.case("S7")
def test_fewer_shards_than_processes_are_no_matter(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack", shard_bytes=10**6)
    samples = opened(tmp_path / "pack")
    assert len(samples.files) == 1
    seen: Counter[int] = Counter()
    for rank in range(4):
        batches = TrainBatches(samples, Order(37, 0, 8), Jitter(), steps=range(37), rank=rank, size=4)
        seen.update(index for batch in batches for index in batch.indices.tolist())
    assert seen == Counter(dict.fromkeys(range(37), 8))


def test_broken_pictures_in_shards_are_replaced_and_named(tmp_path: Path) -> None:
    broken = encode(picture(9))[:40]
    write_tar(tmp_path / "t" / "x.tar", [*samples_of({"a": 0, "b": 1, "c": 0}), ("d.png", broken), ("d.cls", b"1")])
    bring_in(tmp_path / "t")
    batch = next(iter(TrainBatches(opened(tmp_path / "t"), Order(4, 0, 4), Jitter(), steps=range(1))))
    (bad,) = batch.bad
    assert isinstance(bad, Bad)
    assert (bad.index, bad.path) == (3, f"{tmp_path}/t/x.tar: d.png")


@pytest.mark.slow
def test_the_fingerprint_sees_what_that_of_other_sources_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_folder(tmp_path / "p")
    pack(source, tmp_path / "pack")
    samples = opened(tmp_path / "pack")
    whole = fingerprint(samples)
    monkeypatch.setattr("vit_cli.data.fingerprint.CHUNK", 7)
    assert fingerprint(samples) == whole
    (tmp_path / "p" / "cat" / "001.JPG").unlink()
    pack(source, tmp_path / "less")
    assert differences(whole, fingerprint(opened(tmp_path / "less")))[0] == "class cat: 12 -> 11 images"
    pack(small_folder(tmp_path / "q"), tmp_path / "other", seed=1)
    assert len(differences(whole, fingerprint(opened(tmp_path / "other")))) == 2


def test_the_index_has_the_hashes_of_keys(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack")
    samples = opened(tmp_path / "pack")
    expected = np.array([hash63(key) for key in keys(samples)])
    np.testing.assert_array_equal(hashes(samples), expected)
    rows = np.array([5, 3, 30])
    np.testing.assert_array_equal(hashes(subset(samples, rows)), expected[rows])
    assert isinstance(subset(samples, rows), View)


def test_what_lies_in_a_recipe_becomes_absolute_unless_it_is_an_address(tmp_path: Path) -> None:
    assert Shards(path="here").path == str(Path("here").absolute())
    assert Shards(path="https://host/a/", split="val").place == "https://host/a/val"
    for address in ("pipe://cat", "file:///x", "simplecache::https://x/y", "https://x::pipe://cat", "ftp://x/y"):
        with pytest.raises(ValueError, match="addresses begin with"):
            Shards(path=address)
    with pytest.raises(ValueError, match="no \\? or #"):
        Shards(path="https://host/a?token=abc")


# An index must fit its shards


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A pack of several shards."""
    pack(small_folder(tmp_path / "p"), tmp_path / "pack")
    return tmp_path / "pack"


@pytest.mark.case("S7")
def test_a_missing_shard_is_named(packed: Path) -> None:
    (packed / "shard-000001.tar").unlink()
    with pytest.raises(DataError, match=r"does not fit its shards: .*shard-000001.tar: No such file"):
        opened(packed)


@pytest.mark.case("S8")
def test_a_shard_of_another_size_is_named(packed: Path) -> None:
    path = packed / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(DataError, match=r"shard-000001.tar has \d+ bytes, not \d+"):
        opened(packed)


@pytest.mark.case("S8")
def test_a_table_of_another_size_is_named(packed: Path) -> None:
    (packed / "labels.bin").write_bytes(bytes(8 * 36))
    with pytest.raises(DataError, match=r"labels.bin has 288 bytes, and 296 belong to 37 images"):
        opened(packed)


@pytest.mark.case("S3", "S8")
@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_is_seen_when_the_pack_is_opened(packed: Path, label: int) -> None:
    labels = np.fromfile(packed / "labels.bin", "<i8")
    labels[20] = label
    labels.tofile(packed / "labels.bin")
    with pytest.raises(DataError, match=f"image 20 has class {label}, but there are 2 classes"):
        opened(packed)


@pytest.mark.case("S8")
@pytest.mark.parametrize("change", [(1, 0), (0, 1), (10**6, 0)])
def test_a_place_where_no_such_file_lies_is_seen_when_it_is_read(packed: Path, change: tuple[int, int]) -> None:
    places = np.fromfile(packed / "places.bin", "<u4").reshape(-1, 2)
    places[20] += np.array(change, dtype=np.uint32)
    places.tofile(packed / "places.bin")
    samples = opened(packed)
    with pytest.raises(DataError, match="image 20 of the index is not there"):
        samples.read(20)
    assert samples.name(20).endswith("image 20")
    samples.read(19)


@pytest.mark.case("S8")
def test_verifying_finds_a_single_flipped_bit(packed: Path) -> None:
    assert bring_in(packed, verify=True).index.images == 37
    for name in ("shard-000002.tar", "keys.bin"):
        content = bytearray((packed / name).read_bytes())
        content[len(content) // 2] ^= 1
        (packed / name).write_bytes(content)
        for workers in (1, 2):
            with pytest.raises(DataError, match=f"{name} is damaged: it has another checksum"):
                bring_in(packed, workers=workers, verify=True)
        content[len(content) // 2] ^= 1
        (packed / name).write_bytes(content)


@pytest.mark.parametrize("name", ["places.bin", "labels.bin", "keys.bin", "index.json"])
def test_verifying_names_a_file_of_the_index_that_cannot_be_read(packed: Path, name: str) -> None:
    (packed / name).unlink()
    if name == "index.json":
        (packed / name).mkdir()
    with pytest.raises(DataError, match=f"{packed / name} can't be read: "):
        bring_in(packed, verify=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 38}, "the shards have other images"),
        ({"counts": [12, 24]}, "the classes have other images"),
        ({"classes": ["cat"]}, "it counts other classes"),
        ({"classes": ["cat", "cat"]}, "a class is there twice"),
        ({"tables": {}}, "it lacks a table"),
        ({"format_version": 2}, "format_version"),
        ({"images": "37"}, "images"),
        ({"fingerprint": "x"}, "fingerprint"),
    ],
)
def test_an_index_that_does_not_hold_together_is_refused(packed: Path, change: dict[str, object], words: str) -> None:
    index = json.loads((packed / "index.json").read_text())
    (packed / "index.json").write_text(json.dumps(index | change))
    with pytest.raises(DataError, match=words):
        opened(packed)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"format_version": 1'])
def test_an_index_that_is_none_is_refused(packed: Path, content: bytes) -> None:
    (packed / "index.json").write_bytes(content)
    with pytest.raises(DataError, match="is no index of shards"):
        opened(packed)


def test_shards_in_parquet_are_for_another_source(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack", format="arrow")
    with pytest.raises(DataError, match="holds Parquet files"):
        opened(tmp_path / "pack")


# Tars of others


def test_an_index_copies_nothing_and_changes_nothing(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "x-000000.tar", samples_of({"a": 1, "b": 0}))
    write_tar(tmp_path / "t" / "x-000001.tar", samples_of({"c": 2}))
    before = content_of(tmp_path / "t")
    result = bring_in(tmp_path / "t", tmp_path / "index")
    assert content_of(tmp_path / "t") == before
    assert set(content_of(tmp_path / "index")) == {"index.json", "places.bin", "labels.bin", "keys.bin"}
    samples = opened(tmp_path / "index")
    assert (keys(samples), samples.labels.tolist(), samples.classes) == (["a", "b", "c"], [1, 0, 2], ("0", "1", "2"))
    assert samples.read(2) == encode(picture(0))
    bring_in(tmp_path / "t", workers=2)
    assert fingerprint(opened(tmp_path / "t")) == fingerprint(samples)
    with pytest.raises(UsageError, match="is there already"):
        bring_in(tmp_path / "t")
    assert result.facts()["bad"] == 0


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_strange_names_are_read(tmp_path: Path, format: int) -> None:
    names = [LONG, "./dots/x", "café/été", os.fsdecode(b"latin/caf\xe9"), "new\nline"]
    write_tar(tmp_path / "t" / "x.tar", samples_of(dict.fromkeys(names, 0) | {names[0]: 1}), format)
    bring_in(tmp_path / "t")
    samples = opened(tmp_path / "t")
    assert keys(samples) == [LONG, "dots/x", *names[2:]]
    assert [samples.read(i) for i in range(5)] == [encode(picture(i)) for i in range(5)]
    assert samples.name(4) == f"{tmp_path}/t/x.tar: new\\nline.png"
    assert hashes(samples).tolist() == [hash63(key) for key in keys(samples)]


def test_the_members_of_a_sample_may_stand_anywhere(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "x.tar", sorted(samples_of({"a": 1, "b": 0, "c": 1}), key=lambda m: m[0][-3:]))
    bring_in(tmp_path / "t")
    samples = opened(tmp_path / "t")
    assert (keys(samples), samples.labels.tolist()) == (["a", "b", "c"], [1, 0, 1])


@pytest.mark.parametrize(
    ("members", "classes", "labels"),
    [
        ([("a.cls", b" 3\n"), ("b.cls", b"1")], ("0", "1", "2", "3"), [3, 1]),
        ([("a.json", b'{"label": 1}'), ("b.json", b'{"class": "0", "x": 5}')], ("0", "1"), [1, 0]),
        ([("a.cls", b"dog"), ("b.json", b'{"label": "cat"}')], ("cat", "dog"), [1, 0]),
        ([("a.cls", b"1"), ("a.json", b'{"label": 0}'), ("b.cls", b"0")], ("0", "1"), [1, 0]),
    ],
)
def test_classes_come_from_cls_or_json(
    tmp_path: Path, members: list[tuple[str, bytes]], classes: tuple[str, ...], labels: list[int]
) -> None:
    pictures = [("a.png", encode(picture(0))), ("b.png", encode(picture(1)))]
    write_tar(tmp_path / "t" / "x.tar", pictures + members)
    bring_in(tmp_path / "t")
    samples = opened(tmp_path / "t")
    assert (samples.classes, samples.labels.tolist()) == (classes, labels)


def test_classes_come_from_folders_over_all_shards(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "x-0.tar", {"train/dog/a.png": b"1", "train/cat/b.png": b"2", "README.txt": b""})
    write_tar(tmp_path / "t" / "x-1.tar", {"train/ant/c.png": b"3", "train/dog/._d.png": b"4", "__MACOSX/e.png": b""})
    bring_in(tmp_path / "t")
    samples = opened(tmp_path / "t")
    assert samples.classes == ("ant", "cat", "dog")
    assert samples.labels.tolist() == [2, 1, 0]


def test_classes_can_be_named_by_a_file(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "x.tar", samples_of({"a": 1, "b": 0}))
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\n")
    bring_in(tmp_path / "t", tmp_path / "i", classes=names)
    samples = opened(tmp_path / "i")
    assert (samples.classes, samples.labels.tolist()) == (("ant", "bee", "cat"), [1, 0])
    for text, words in (("ant\n", "has class 1, but 1 classes have names"), ("ant\nant\n", "names a class twice")):
        names.write_text(text)
        with pytest.raises(DataError, match=words):
            bring_in(tmp_path / "t", tmp_path / "j", classes=names)
    assert not (tmp_path / "j").exists()


P = ("p.png", b"png")


@pytest.mark.case("S3", "S6")
@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([P], "p has no class"),
        ([P, ("p.cls", b"-1")], "p.cls has no class, but '-1'"),
        ([P, ("p.cls", b"1.5")], "p.cls has no class, but '1.5'"),
        ([P, ("p.cls", b"NaN")], "p.cls has no class, but 'NaN'"),
        ([P, ("p.cls", b"")], "p.cls has no class, but ''"),
        ([P, ("p.cls", b"99999999999")], "p.cls has no class"),
        ([P, ("p.cls", b"\xff\xfe")], "p.cls has no class"),
        ([P, ("p.cls", bytes(2**21))], "too many for a label"),
        ([P, ("p.json", b'{"label": true}')], "p.json has no class, but 'True'"),
        ([P, ("p.json", b'{"label": [1]}')], "p.json has no class"),
        ([P, ("p.json", b"[" * 10**5)], "p.json has no class"),
        ([P, ("p.cls", b"1"), ("p.cls", b"2")], "p.cls is there twice"),
        ([P, P, ("p.cls", b"1")], "p.png and p.png are pictures of one sample"),
        ([P, ("p.seg.png", b"png"), ("p.cls", b"1")], "p.png and p.seg.png are pictures of one sample"),
        ([P, ("p.cls", b"1"), ("q.png", b"q"), ("q.cls", b"one")], "q.png has its class by name, others do not"),
        ([("caf\udce9/p.png", b"png")], "is not in UTF-8"),
        ([("../p.png", b"png")], "leads out of the archive"),
    ],
)
def test_tars_that_are_not_in_order_are_refused_by_shard_and_member(
    tmp_path: Path, members: list[tuple[str, bytes]], words: str
) -> None:
    write_tar(tmp_path / "t" / "x-0.tar", samples_of({"a": 0}))
    write_tar(tmp_path / "t" / "x-1.tar", members, tarfile.GNU_FORMAT)
    with pytest.raises(DataError) as refused:
        bring_in(tmp_path / "t")
    assert "x-1.tar: " in str(refused.value)
    assert words in str(refused.value)
    assert not (tmp_path / "t" / "index.json").exists()


@pytest.mark.case("S6")
def test_tars_that_are_cut_or_compressed_are_refused(tmp_path: Path) -> None:
    import gzip

    path = write_tar(tmp_path / "t" / "x.tar", samples_of({"a": 0, "b": 1}))
    whole = path.read_bytes()
    for content, words in (
        (whole[:700], "a.png is cut off"),
        (whole[:1024], "the end mark is missing"),
        (b"", "it is empty"),
        (gzip.compress(whole), "it is compressed"),
        (whole[512:], "a damaged header at byte 0"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            bring_in(tmp_path / "t")


@pytest.mark.case("S7")
def test_a_gap_in_the_numbers_of_tars_is_an_error_unless_it_is_allowed(tmp_path: Path) -> None:
    for number in (3, 4, 6):
        write_tar(tmp_path / "t" / f"x-{number:06d}.tar", samples_of({f"k{number}": number % 2}))
    with pytest.raises(DataError, match=r"shard 5 of x-\*.tar is missing"):
        bring_in(tmp_path / "t")
    assert bring_in(tmp_path / "t", allow_gaps=True).index.images == 3


def test_folders_may_have_names_that_are_not_utf8_but_tars_may_not(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    source = small_folder(folder / "p")
    pack(source, folder / "pack")
    assert len(opened(folder / "pack")) == 37
    write_tar(folder / "t" / "x.tar", samples_of({"a": 0}))
    with pytest.raises(DataError, match=r"caf\\xe9/t/x.tar is not in UTF-8"):
        bring_in(folder / "t")


def test_an_imported_shard_that_was_changed_later_is_found(tmp_path: Path) -> None:
    """Without checksums the walk tells, with them every bit."""
    path = write_tar(tmp_path / "t" / "x.tar", samples_of({"a": 0, "b": 1}))
    bring_in(tmp_path / "t")
    assert json.loads((tmp_path / "t" / "index.json").read_text())["shards"][0]["sha256"] is None
    write_tar(path, list(reversed(samples_of({"a": 0, "b": 1}))))
    with pytest.raises(DataError, match="holds other images than its index says"):
        bring_in(tmp_path / "t", verify=True)


def test_a_pack_whose_index_is_lost_can_be_imported(tmp_path: Path) -> None:
    pack(small_folder(tmp_path / "p"), tmp_path / "pack")
    before = opened(tmp_path / "pack")
    places = before.store.table("places").copy()
    for name in ("index.json", "labels.bin", "places.bin", "keys.bin"):
        (tmp_path / "pack" / name).rename(tmp_path / f"lost-{name}")
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    bring_in(tmp_path / "pack", classes=names)
    now = opened(tmp_path / "pack")
    assert now.classes == before.classes
    assert now.labels.tolist() == before.labels.tolist()
    np.testing.assert_array_equal(now.store.table("places"), places)


@pytest.mark.slow
@pytest.mark.long
def test_ten_million_images_cost_no_memory_of_their_own(tmp_path: Path) -> None:
    """In a process of its own; scripts/bench_index.py shows the same for a hundred million."""
    script = Path(__file__).parents[3] / "scripts" / "bench_index.py"
    command = [sys.executable, str(script), "--images", "10000000", "--shards", "400", "--dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parents[1], timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    before, drawing = result["megabytes"]["imports"], result["megabytes"]["drawing"]
    assert drawing["own"] - before["own"] < 20  # ten million labels alone are 80
    assert drawing["cached"] - before["cached"] < 100
    assert result["seconds"]["open"] + result["seconds"]["first_batch"] < 5

"""Lists of millions of images, and views of them."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vit_cli.data.samples import Files, PackedNames, Pixels, printable, relabel, subset
from vit_cli.errors import DataError


def test_a_million_files_take_less_than_100_mb() -> None:
    count = 50_000  # a twentieth, for tracemalloc is slow
    tracemalloc.start()
    names = PackedNames(f"n{i % 1000:08d}/n{i % 1000:08d}_{i:07d}.JPEG".encode() for i in range(count))
    samples = Files("/data", names, np.arange(count) % 1000, [f"n{i:08d}" for i in range(1000)])
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 60e6 / 20
    assert peak < 100e6 / 20
    assert samples.key(43_321) == "n00000321/n00000321_0043321.JPEG"
    assert len(pickle.dumps(samples)) < 60e6 / 20


def test_names_that_are_empty_or_not_utf8_come_back_whole() -> None:
    names = [b"", b"a", b"\xff\xfe", "ä✓".encode(), b"new\nline"]
    packed = PackedNames(names)
    assert [packed[i] for i in range(len(packed))] == names


def test_a_name_in_a_message_can_not_command_the_terminal() -> None:
    assert printable(b"a\x1b[31m\nb\xff") == "a\\x1b[31m\\nb\\xff"


def rows(*classes: str) -> Pixels:
    pixels = np.arange(3 * len(classes), dtype=np.uint8).reshape(-1, 1, 3)
    return Pixels("rows", pixels, np.arange(len(classes)), classes)


def test_labels_are_matched_by_name() -> None:
    view = relabel(rows("b", "c"), ["a", "b", "c"], "val")
    assert view.labels.tolist() == [1, 2]
    assert view.classes == ("a", "b", "c")
    np.testing.assert_array_equal(view.read(1), rows("b", "c").read(1))


def test_images_of_an_unknown_class_are_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match="1 class: zebra"):
        relabel(rows("a", "zebra"), ["a", "b"], "val")


def test_an_unknown_class_without_images_is_fine() -> None:
    samples = Pixels("rows", np.zeros((1, 2, 2), np.uint8), np.array([1]), ["unused", "a"])
    assert relabel(samples, ["a", "b"], "val").labels.tolist() == [0]


def test_a_subset_of_a_subset_keeps_names_and_keys() -> None:
    part = subset(subset(rows("a", "b", "c", "d"), np.array([3, 1, 0])), np.array([2, 0]))
    assert [part.key(0), part.key(1)] == ["0", "3"]
    assert part.name(1) == "rows row 3"
    assert part.labels.tolist() == [0, 3]


def test_a_path_of_bytes_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\n.png")).write_bytes(b"content")
    samples = Files(str(tmp_path), PackedNames([b"\xff\n.png"]), np.zeros(1, np.int64), ["a"])
    assert samples.read(0) == b"content"
    assert samples.name(0).endswith("/\\xff\\n.png")
    assert pickle.loads(pickle.dumps(samples)).read(0) == b"content"

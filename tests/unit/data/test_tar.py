"""Tars: members are where Python's tarfile finds them, and archives that are not in order are refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.packs import samples_of, write_tar
from vit_cli.data.tar import BLOCK, Member, TarError, pad, read_member, walk

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = "a-folder-with-a-long-name/" * 9 + "picture-with-a-name-that-is-no-shorter-" * 3 + "end.jpg"


def members(content: bytes) -> list[Member]:
    return list(walk(lambda start, size: content[start : start + size], len(content)))


def tar_of(*infos: tarfile.TarInfo, format: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return file.getvalue()


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link
    return made


@pytest.mark.parametrize("format", FORMATS)
def test_members_lie_where_tarfile_finds_them(tmp_path: Path, format: str) -> None:
    names = ["a.jpg", "b/c.png", "ünïcode.jpg", "x" * 96 + ".jpg"] + ([LONG] if format != "ustar" else [])
    path = write_tar(tmp_path / "x.tar", [(n, os.urandom(300 * i)) for i, n in enumerate(names)], FORMATS[format])
    with tarfile.open(path) as tar:
        expected = [(m.name.encode(), m.offset, m.offset_data, m.size) for m in tar]
    found = members(path.read_bytes())
    assert [(m.name, m.start, m.data, m.size) for m in found] == expected
    assert [m.name.decode() for m in found] == names


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab/.ü-", min_size=1, max_size=130), st.integers(0, 1500)), max_size=6),
    st.sampled_from(list(FORMATS)),
)
def test_any_archive_of_tarfile_is_read_as_tarfile_reads_it(entries: list[tuple[str, int]], format: str) -> None:
    try:
        content = tar_of(*(info(name, size) for name, size in entries), format=FORMATS[format])
    except ValueError:  # ustar has no room for the name
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isfile()]
    if any(name.startswith("/") or ".." in name.split("/") for name, *_ in expected):
        with pytest.raises(TarError, match="leads out"):
            members(content)
        return
    found = [(m.name.decode(), m.data, m.size) for m in members(content)]
    assert [(n.rstrip("/"), *rest) for n, *rest in found] == [(n.rstrip("/"), *rest) for n, *rest in expected]


def test_sizes_beyond_octal_digits_are_read() -> None:
    size = 9 * 2**30
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        header = info("big.jpg", size).tobuf(format)
        found = read_member(lambda start, size, header=header: header[start : start + size], 0)
        assert found is not None
        assert (found.size, found.data) == (size, len(header))


@pytest.mark.case("S6")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a pipe"),
        (tarfile.GNUTYPE_SPARSE, "is a file with holes"),
        (b"9", "is of the unknown kind '9'"),
    ],
)
def test_what_is_no_file_is_refused(kind: bytes, words: str) -> None:
    with pytest.raises(TarError, match=f"y.jpg {words}"):
        members(info("x.jpg").tobuf() + info("y.jpg", kind=kind, link="x.jpg").tobuf() + bytes(1024))


@pytest.mark.case("S6")
@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a/../../x.jpg", "a/.."])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(TarError, match="leads out"):
        members(tar_of(info(name, 3)))


@pytest.mark.case("S6")
def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "x.tar", samples_of({"a": 0, "b": 1})).read_bytes()
    end = members(content)[-1].end
    for cut in np.random.default_rng(0).integers(1, end + BLOCK - 1, 50).tolist():
        with pytest.raises(TarError, match="cut off"):
            members(content[:cut])
    assert len(members(content[: end + BLOCK])) == 4  # one block of zeros is an end


def test_an_archive_that_shrinks_while_it_is_read_is_cut_off(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "x.tar", samples_of({"a": 0})).read_bytes()
    reads = iter(range(100))  # an end to reading that would go on for ever

    def read(start: int, size: int) -> bytes:
        next(reads)
        return content[start : start + size]

    with pytest.raises(TarError, match=f"cut off at byte {len(content)} of {len(content) + 4096}"):
        list(walk(read, len(content) + 4096))


def test_a_size_of_thousands_of_digits_is_damage() -> None:
    record = b" size=" + b"1" * 5000 + b"\n"
    record = b"%d" % (len(record) + 4) + record
    header = info("x", len(record), tarfile.XHDTYPE).tobuf() + record.ljust(pad(len(record)), b"\0")
    with pytest.raises(TarError, match="damaged header"):
        members(header + tar_of(info("a.jpg")))


def test_a_flipped_bit_in_a_header_is_seen(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "x.tar", samples_of({"a": 0, "b": 1})).read_bytes())
    start = members(bytes(content))[2].start
    for place in np.random.default_rng(0).choice(148, 20, replace=False).tolist():
        content[start + place] ^= 4
        with pytest.raises(TarError, match=f"damaged header at byte {start}"):
            members(bytes(content))
        content[start + place] ^= 4


def test_archives_one_after_the_other_are_refused(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "x.tar", {"a.jpg": b"123"}).read_bytes()
    with pytest.raises(TarError, match="goes on after the end mark"):
        members(content + content)


def test_names_for_all_files_and_holes_of_pax_are_refused() -> None:
    for key, words in (("path", "for all files"), ("GNU.sparse.size", "holes")):
        record = f"{len(key) + 8} {key}=abc\n".encode()
        record = f"{len(record)} {key}=abc\n".encode()
        header = info("x", len(record), tarfile.XGLTYPE).tobuf() + record.ljust(BLOCK, b"\0")
        with pytest.raises(TarError, match=words):
            members(header + tar_of(info("a.jpg")))


@pytest.mark.parametrize("size", [b"-0000000001\0", b"00000000008\0", b"\xff" * 12, b"0x1\0" + bytes(8)])
def test_strange_sizes_are_damage(size: bytes) -> None:
    header = bytearray(info("x.jpg").tobuf())
    header[124:136] = size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    with pytest.raises(TarError, match="damaged header"):
        members(bytes(header) + bytes(1024))

"""Tar archives, strictly read: where their members lie, and what is wrong with those that can't be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vit_cli.data.samples import printable

BLOCK = 512
END = bytes(BLOCK)
READ_AT_ONCE = 2**20
LONGEST_NAME = 2**16
MOST_DIGITS = 20
FILES, FOLDER = (b"0", b"\0", b"7"), b"5"
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
KINDS = {
    b"1": "a hard link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a file with holes",
}

Read = Callable[[int, int], bytes]
"""(start, size) -> so many bytes of an archive from there on; fewer where it ends."""


class TarError(ValueError):
    """What is wrong with an archive, and where."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive: its name as it is written, where its headers begin, where its content does and its size."""

    name: bytes
    kind: bytes
    start: int
    data: int
    size: int

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.data + pad(self.size)


def pad(size: int) -> int:
    """Round up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def walk(read: Read, length: int) -> Iterator[Member]:
    """Give the files of an archive of `length` bytes, in order. Raises TarError unless all of it is in order.

    Folders are passed over. Links, devices, pipes and files with holes are refused, and so are names that lead out of
    the archive, an archive that is cut off or lacks its end mark, and anything behind that mark.
    """
    at = 0
    while (member := read_member(read, at)) is not None:
        if member.end > length:
            raise TarError(f"{printable(member.name)} is cut off: {member.data + member.size} of {length} bytes")
        at = member.end
        if member.kind == FOLDER:
            continue
        if member.kind not in FILES:
            kind = KINDS.get(member.kind, f"of the unknown kind {printable(member.kind)!r}")
            raise TarError(f"{printable(member.name)} is {kind}, no file")
        check_name(member.name)
        yield member
    check_rest(read, at, length)


def read_member(read: Read, start: int) -> Member | None:
    """Read the entry whose headers begin at `start`; None for the end mark. Raises TarError.

    Understands ustar, the long names of GNU and the names and sizes of pax.
    """
    at, name, pax = start, None, dict[bytes, bytes]()
    while (block := read(at, BLOCK)) != END:
        kind, short_name, size = read_header(block, at)
        if kind not in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
            size = read_digits(pax[b"size"], 10, at) if b"size" in pax else size
            return Member(pax.get(b"path", name or short_name), kind, start, at + BLOCK, size)
        if size > LONGEST_NAME:
            raise TarError(f"a name of {size} bytes at byte {at}")
        content = read(at + BLOCK, size)
        if len(content) < size:
            raise TarError(f"cut off in a header at byte {at}")
        if kind == LONG_NAME:
            name = content.split(b"\0")[0]
        elif kind in (PAX, PAX_GLOBAL):
            pax.update(read_pax(content, kind, at))
        at += BLOCK + pad(size)
    if at > start:
        raise TarError(f"a header without a file at byte {start}")
    return None


def is_plain(block: bytes, size: int) -> bool:
    """Tell at once whether a header is of a file with a short name and this size; its checksum is not looked at."""
    return block[124:136] == b"%011o\0" % size and block[156:157] in FILES and block[257:262] == b"ustar"


def read_header(block: bytes, at: int) -> tuple[bytes, bytes, int]:
    """Give kind, name and size of the header that stands at byte `at`. Raises TarError if it is none."""
    if len(block) < BLOCK:
        raise TarError(f"cut off at byte {at + len(block)}: the end mark is missing")
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != read_digits(block[148:156], 8, at):
        raise TarError(f"a damaged header at byte {at}")
    name, kind = block[:100].split(b"\0")[0], block[156:157]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""  # GNU keeps other things there
    if prefix:
        name = prefix + b"/" + name
    if name.endswith(b"/") and kind == b"\0":
        kind = FOLDER  # as tars had them before ustar
    return kind, name, read_size(block[124:136], at)


def read_size(field: bytes, at: int) -> int:
    """Read a size: octal digits, or binary with the first bit set where these do not suffice."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return read_digits(field, 8, at)


def read_digits(field: bytes, base: int, at: int) -> int:
    """Read a number with blanks or zeros around it. Raises TarError."""
    text = field.strip(b" \0")
    if not text.isdigit() or len(text) > MOST_DIGITS or (base == 8 and any(digit in text for digit in b"89")):
        raise TarError(f"a damaged header at byte {at}")
    return int(text, base)


def read_pax(content: bytes, kind: bytes, at: int) -> dict[bytes, bytes]:
    """Read the records "length key=value" of a pax header. Raises TarError."""
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(content):
        space = content.find(b" ", place)
        end = place + read_digits(content[place:space], 10, at) if space > place else 0
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if end > len(content) or content[end - 1 : end] != b"\n" or not equals:
            raise TarError(f"a damaged header at byte {at}")
        records[key] = value
        place = end
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise TarError(f"a file with holes at byte {at}")
    if kind == PAX_GLOBAL and (b"path" in records or b"size" in records):
        raise TarError(f"one name or size for all files at byte {at}")
    return {} if kind == PAX_GLOBAL else records


def check_name(name: bytes) -> None:
    """Raise TarError for a name that is empty, absolute or leads upwards."""
    if not name or name.startswith(b"/") or b".." in name.split(b"/"):
        raise TarError(f"the name {printable(name)!r} leads out of the archive")


def check_rest(read: Read, at: int, length: int) -> None:
    """Raise TarError if anything but zeros follows the end mark, as in archives that were written one after the other."""
    while at < length:
        content = read(at, READ_AT_ONCE)
        if not content:
            raise TarError(f"cut off at byte {at} of {length}")
        if content.strip(b"\0"):
            raise TarError(f"it goes on after the end mark at byte {at}: are these several archives in one file?")
        at += len(content)

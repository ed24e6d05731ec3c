"""Numbers that stand for names and places: the same on every machine, in every process and version."""

from __future__ import annotations

from hashlib import blake2b

BITS = 63
"""Keys are below 2**63, so that they fit an int64 and a generator's seed."""


def hash63(text: str) -> int:
    """Give the key of a name: the first 63 bits of its BLAKE2b hash (names that are not UTF-8 included)."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def derive(purpose: str, *numbers: int) -> int:
    """Give the key of a place, such as (seed, epoch, index); another `purpose` gives unrelated keys."""
    return hash63(f"{purpose}:{','.join(map(str, numbers))}")

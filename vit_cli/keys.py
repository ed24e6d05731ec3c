"""Numbers that stand for names and places: the same on every machine, in every process and version."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

BITS = 63
"""Keys are below 2**63, so that they fit an int64 and a generator's seed."""
Keys = NDArray[np.uint64]
STRIDE = np.uint64(0x9E3779B97F4A7C15)
"""What SplitMix64 counts by: the golden ratio in 64 bits."""


def hash63(text: str) -> int:
    """Give the key of a name: the first 63 bits of its BLAKE2b hash (names that are not UTF-8 included)."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def derive(purpose: str, *numbers: int) -> int:
    """Give the key of a place, such as (seed, epoch, index); another `purpose` gives unrelated keys."""
    return hash63(f"{purpose}:{','.join(map(str, numbers))}")


def mix(x: Keys) -> Keys:
    """Hash 64 bits to 64 bits (the finaliser of SplitMix64; Steele, Lea & Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def count_on(keys: Keys, numbers: NDArray[np.integer] | int) -> Keys:
    """Give the keys of places below `keys`: each is hashed with a number from 0 on."""
    with np.errstate(over="ignore"):
        return mix(keys + (np.asarray(numbers).astype(np.uint64) + np.uint64(1)) * STRIDE)


def image_keys(seed: int, epochs: NDArray[np.int64], indices: NDArray[np.int64]) -> Keys:
    """Give a key for each image shown: of the run's seed, the pass over the data and the image."""
    start = np.full(len(indices), derive("augment", seed), dtype=np.uint64)
    return count_on(count_on(start, epochs), indices)

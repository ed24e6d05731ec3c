"""Keys stay the same for ever, differ where they should, and each depends on its own place alone."""

from __future__ import annotations

import numpy as np
import pytest

from vit_cli.keys import BITS, count_on, derive, hash63, image_keys


def test_the_counter_is_splitmix64() -> None:
    """The first numbers of the published generator for the seed 1234567 (Vigna's splitmix64.c)."""
    seed = np.array([1234567], dtype=np.uint64)
    assert count_on(seed, np.arange(2)).tolist() == [6457827717110365317, 3203168211198807973]


def test_names_and_places_keep_their_keys() -> None:
    """A change of these would change every order, every image and what is held out."""
    assert hash63("cat") == 1843079001574132759
    assert derive("order", 0, 1) == 7314729371254381532
    assert image_keys(0, np.array([0, 0, 1]), np.array([0, 1, 0])).tolist() == [
        3938846708922160250,
        17531007541191825248,
        17451278427127264519,
    ]


def test_keys_of_names_fit_an_int64() -> None:
    assert all(0 <= hash63(str(number)) < 2**BITS for number in range(1000))


@pytest.mark.slow
def test_a_million_images_of_several_epochs_have_keys_of_their_own() -> None:
    epochs, indices = np.divmod(np.arange(1_000_000), 250_000)
    assert len(np.unique(image_keys(3, epochs, indices))) == 1_000_000


def test_an_images_key_does_not_depend_on_the_others() -> None:
    epochs, indices = np.divmod(np.arange(100), 30)
    whole = image_keys(3, epochs, indices)
    assert image_keys(3, epochs[40:41], indices[40:41]).tolist() == whole[40:41].tolist()
    assert not np.isin(image_keys(4, epochs, indices), whole).any()

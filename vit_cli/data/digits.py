"""The scanned handwritten digits inside scikit-learn: real data that needs no download."""

from __future__ import annotations

from typing import Literal

import numpy as np

from vit_cli.data.samples import Pixels
from vit_cli.section import Section


class Digits(Section):
    """1,797 grey images of 8x8 pixels, ten classes (Alpaydin & Kaynak, 1998; the test part of the UCI set)."""

    name: Literal["digits"] = "digits"

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return "digits (scikit-learn)"

    def open(self) -> Pixels:
        """Load them, scaled from 0..16 to 0..255."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        return Pixels("digits", pixels, digits.target.astype(np.int64), [str(digit) for digit in range(10)])

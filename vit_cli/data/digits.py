"""The scanned handwritten digits inside scikit-learn: real data that needs no download."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from vit_cli.data.samples import Pixels
from vit_cli.section import Section, TaskName

TRAITS = {"even": (0, 2, 4, 6, 8), "prime": (2, 3, 5, 7), "square": (0, 1, 4, 9), "loop": (0, 6, 8, 9)}
"""What can be said of a digit besides its name; the strokes of the last four close."""


class Digits(Section):
    """1,797 grey images of 8x8 pixels, ten classes (Alpaydin & Kaynak, 1998; the test part of the UCI set).

    With several labels, these are what holds of the number: even, prime, square, loop. Regression learns its value.
    """

    name: Literal["digits"] = "digits"
    only: tuple[Annotated[int, Field(ge=0, le=9)], ...] | None = Field(
        None, min_length=1, description="these digits alone, for transfer from some to others; null: all ten"
    )

    @property
    def title(self) -> str:
        """Say where the images come from."""
        return (
            "digits (scikit-learn)" if self.only is None else f"digits {' '.join(map(str, self.only))} (scikit-learn)"
        )

    def open(self, task: TaskName = "classification") -> Pixels:
        """Load them, scaled from 0..16 to 0..255."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        chosen = sorted(set(range(10) if self.only is None else self.only))
        kept = np.isin(digits.target, chosen)
        pixels, numbers = np.round(digits.images[kept] * (255 / 16)).astype(np.uint8), digits.target[kept]
        if task == "regression":
            return Pixels("digits", pixels, numbers.astype(np.float64)[:, None], ["digit"])
        if task == "multilabel":
            marks = np.stack([np.isin(numbers, having) for having in TRAITS.values()], axis=1)
            return Pixels("digits", pixels, marks.astype(np.float32), list(TRAITS))
        return Pixels("digits", pixels, np.searchsorted(chosen, numbers).astype(np.int64), list(map(str, chosen)))

"""Predictions for single images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vit_cli.data.batch import stack
from vit_cli.data.decode import BadImage, decode
from vit_cli.data.folder import ENDINGS
from vit_cli.errors import DataError
from vit_cli.evaluate.saved import Ready

BATCH = 32


class Prediction(NamedTuple):
    """An image and its classes with their probabilities, the likeliest first; or its targets with their numbers."""

    path: str
    classes: list[tuple[str, float]]


def list_images(paths: Iterable[Path]) -> list[Path]:
    """List the images that are named, and those inside named folders; DataError for a path that is not there or an empty folder."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if os.fsencode(p.suffix.lower()) in ENDINGS and not p.name.startswith(".")
            )
            if not inside:
                raise DataError(f"{path} holds no images")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"there is no image {path}")
    return found


def predict_images(
    ready: Ready, paths: Iterable[Path], top: int | None, unreadable: list[str], threshold: float = 0.5
) -> Iterator[Prediction]:
    """Predict images batch by batch; an image that can't be read is noted in `unreadable`.

    `top` classes each, 0 for all, None for what suits the task; labels only with a probability above `threshold`.
    """
    task, transform = ready.task, ready.transform
    readable = read_images(paths, ready.max_pixels, unreadable)
    while batch := list(islice(readable, BATCH)):
        images = stack([transform(image) for _, image in batch]).to(next(ready.model.parameters()).device)
        with torch.inference_mode():
            found = task.predict(ready.model(ready.prepare(images)), top, threshold)
        for (path, _), pairs in zip(batch, found, strict=True):
            yield Prediction(os.fspath(path), pairs)


def read_images(paths: Iterable[Path], max_pixels: int, unreadable: list[str]) -> Iterator[tuple[Path, Tensor]]:
    """Decode images, and note those that are broken."""
    for path in paths:
        try:
            yield path, decode(path.read_bytes(), max_pixels)
        except (BadImage, OSError) as error:
            unreadable.append(f"{path}: {error.reason if isinstance(error, BadImage) else error.strerror}")

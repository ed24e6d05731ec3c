"""Small data sets of every kind, pictures, and a random transform."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vit_cli.augment.dice import Dice
from vit_cli.data.samples import Samples
from vit_cli.keys import Keys
from vit_cli.section import Look

KINDS = ("digits", "folder", "hf", "torchvision", "synthetic", "shards")


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """Write a picture into bytes."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def picture(number: int, size: tuple[int, int] = (9, 7)) -> Image.Image:
    """Draw a colourful picture of (columns, rows), another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    """Write class folders with so many pictures each, of different sizes and formats."""
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            ending, format = (("png", "PNG"), ("JPG", "JPEG"))[number % 2]
            image = picture(100 * place + number, (8 + number % 3, 8))
            (root / name / f"{number:03d}.{ending}").write_bytes(encode(image, format))
    return root


def write_parquet(path: Path, labels: list[int], names: list[str]) -> Path:
    """Write pictures as Hugging Face does."""
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {"img": [{"bytes": encode(picture(i)), "path": None} for i in range(len(labels))], "label": labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    return path


def write_mnist(root: Path, images: int) -> Path:
    """Write the training files of MNIST in their own format, with noise for digits."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 28, 28), dtype=np.uint8)
    for kind in ("train", "t10k"):
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, images, 28, 28) + pixels.tobytes())
        labels = (np.arange(images) % 10).astype(np.uint8)
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, images) + labels.tobytes())
    return root


class Jitter:
    """Crop 6x6 somewhere, then flip and add noise: all of it random."""

    def at(self, step: int) -> Jitter:
        return self

    def draw(self, keys: Keys) -> list[list[float]]:
        return Dice(keys).uniform(count=2).tolist()

    def look(self, h: int, w: int, drawn: list[float]) -> Look:
        return Look(None, None, partial(self.take, top=int(drawn[0] * (h - 5)), left=int(drawn[1] * (w - 5))))

    def take(self, pixels: Tensor, top: int, left: int) -> Tensor:
        return pixels[:, top : top + 6, left : left + 6]

    def bring(self, images: Tensor, keys: Keys) -> Tensor:
        drawn = self.draw(keys)
        return torch.stack([self.look(*image.shape[1:], d).take(image) for image, d in zip(images, drawn, strict=True)])

    def change(self, images: Tensor, keys: Keys) -> Tensor:
        dice = Dice(keys).fork(0)
        flipped = torch.from_numpy(dice.chance(0.5)).view(-1, 1, 1, 1)
        noise = torch.from_numpy(dice.uniform(0, 100, 3 * 36)).view(-1, 3, 6, 6)
        return (torch.where(flipped, images.flip(3), images) // 2 + noise).to(torch.uint8)


class Whole:
    """Leave images as they are."""

    def at(self, step: int) -> Whole:
        return self

    def draw(self, keys: Keys) -> list[None]:
        return [None] * len(keys)

    def look(self, h: int, w: int, drawn: None = None) -> Look:
        return Look(None, None, lambda pixels: pixels)

    def bring(self, images: Tensor, keys: Keys) -> Tensor:
        return images

    def change(self, images: Tensor, keys: Keys) -> Tensor:
        return images


def look_with(transform: Callable[[Tensor], Tensor]) -> Callable[[int, int], Look]:
    """Look at whole pictures, through a transform."""
    return lambda h, w: Look(None, None, transform)


class Broken:
    """Samples of which some can't be decoded or read."""

    def __init__(self, base: Samples, broken: dict[int, bytes]) -> None:
        self.base, self.broken = base, broken
        self.labels, self.classes = base.labels, base.classes

    def __len__(self) -> int:
        return len(self.base)

    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        return self.broken[index] if index in self.broken else self.base.read(index)

    def name(self, index: int) -> str:
        return f"image {index}"

    def key(self, index: int) -> str:
        return str(index)


class Suicidal(Broken):
    """Samples that kill the process that reads the last of them."""

    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        if index == len(self) - 1:
            os._exit(9)
        return self.base.read(index)

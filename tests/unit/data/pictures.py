"""Small data sets of every kind, pictures, and a random transform."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vit_cli.data.samples import Samples

KINDS = ("digits", "folder", "hf", "torchvision", "synthetic")


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
    """Crop 6x6 somewhere, flip, add noise: all of it random."""

    def __call__(self, pixels: Tensor) -> Tensor:
        top = int(torch.randint(pixels.shape[1] - 5, ()))
        left = int(torch.randint(pixels.shape[2] - 5, ()))
        crop = pixels[:, top : top + 6, left : left + 6]
        if torch.rand(()) < 0.5:
            crop = crop.flip(2)
        return (crop // 2 + torch.randint(0, 100, crop.shape)).to(torch.uint8)


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

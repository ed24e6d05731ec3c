"""The images that the benchmarks read: real ones where there are some, else made-up ones."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHARED = Path(__file__).parents[2] / "shared/data"
PHOTOS, CIFAR = SHARED / "photos", SHARED / "cifar10"
CLASSES = 10
LARGE, GRAIN, LARGE_QUALITY = (4000, 3000), 3, 92
"""Columns and rows of a 12-megapixel photo, the noise of its sensor (standard deviation), and its quality as a JPEG."""
MADE_CIFAR = 10_000


def find_photos(folder: Path, scratch: Path) -> tuple[list[Path], str]:
    """Give the photos of a folder, or 200 that are written to `scratch`, and what they are."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if files:
        return files, f"{len(files)} photos"
    return [write_photo(scratch / f"made{number:03d}.jpg", number) for number in range(200)], "200 made-up photos"


def write_photo(path: Path, seed: int) -> Path:
    """Write a photo-like JPEG of 500x375: smooth colours with some noise."""
    random = np.random.default_rng(seed)
    Image.fromarray(add_noise(make_colours(random, (500, 375)), random, 6)).save(path, quality=90)
    return path


def make_colours(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Make an image of smooth random colours."""
    return Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def add_noise(image: Image.Image, random: np.random.Generator, deviation: float) -> NDArray[np.uint8]:
    """Give the pixels of an image with normal noise."""
    pixels = np.asarray(image, dtype=np.float32)
    noisy = pixels + deviation * random.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(noisy.round(), 0, 255).astype(np.uint8)


def write_split(files: Sequence[Path], split: Path, names: int = 1) -> Path:
    """Put photos into class folders, each under several `names`, which take no space, to make an epoch longer."""
    for number, file in enumerate(files):
        folder = split / f"class{number % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        first = folder / f"{number:03d}_000.jpg"
        first.write_bytes(file.read_bytes())
        for name in range(1, names):
            os.link(first, folder / f"{number:03d}_{name:03d}.jpg")
    return split


def write_large(files: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Write `count` photos of 12 megapixels: real ones, enlarged, with the noise of a sensor."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{number:03d}.jpg" for number in range(count)]
    for number, path in enumerate(written):
        with Image.open(files[number * len(files) // count]) as photo:
            upright = photo.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        pixels = add_noise(upright, np.random.default_rng(number), GRAIN)
        Image.fromarray(pixels).save(path, quality=LARGE_QUALITY)
    return written


def write_pack(source: Path, pack: Path, short_side: int) -> Path:
    """Pack class folders by `vit data pack`."""
    words = ["data", "pack", str(source), str(pack), "--short-side", str(short_side)]
    done = subprocess.run([sys.executable, "-m", "vit_cli", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"vit {' '.join(words)} failed:\n{done.stderr}")
    return pack


def find_cifar(folder: Path, scratch: Path) -> tuple[Path, str]:
    """Give a folder with train-*.parquet and test-*.parquet of CIFAR-10's form, made-up ones if there are none."""
    if any(folder.glob("train-*.parquet")):
        return folder, "CIFAR-10"
    made = scratch / "made_cifar"
    made.mkdir()
    for split, count in (("train", MADE_CIFAR), ("test", MADE_CIFAR // 10)):
        write_thumbnails(made / f"{split}-00000-of-00001.parquet", count)
    return made, f"{MADE_CIFAR} made-up images of 32x32"


def write_thumbnails(path: Path, count: int) -> None:
    """Write a parquet file of 32x32 JPEGs with labels, as the hub's `cifar10` has them."""
    import datasets

    random = np.random.default_rng(count)
    images = []
    for _ in range(count):
        content = io.BytesIO()
        Image.fromarray(add_noise(make_colours(random, (32, 32)), random, 6)).save(content, "JPEG", quality=95)
        images.append({"bytes": content.getvalue(), "path": None})
    names = datasets.ClassLabel(names=[f"class{number}" for number in range(CLASSES)])
    features = datasets.Features({"img": datasets.Image(), "label": names})
    table = {"img": images, "label": random.integers(0, CLASSES, count).tolist()}
    datasets.Dataset.from_dict(table, features=features).to_parquet(str(path))

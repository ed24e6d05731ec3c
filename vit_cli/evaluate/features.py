"""The features of images: what a model's last layer sees of each, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_cli import __version__
from vit_cli.checkpoint.file import canonical
from vit_cli.checkpoint.model import find_home
from vit_cli.checkpoint.npz import read_npz, write_npz
from vit_cli.data.fingerprint import fingerprint
from vit_cli.data.samples import Files, Samples, View
from vit_cli.device import autocast
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError, TrainingError
from vit_cli.evaluate.evaluate import join_records, pack
from vit_cli.evaluate.saved import Ready, read_batches
from vit_cli.models.dense import packing
from vit_cli.models.heads import MlpHead

Array = NDArray[np.float32]


class Features(NamedTuple):
    """Features (n, d) in the order of the images, and the file they are kept in.

    `seconds` is the time it took to compute them, 0 if they were in the file; `trouble` says why they are not kept. With
    several processes, all but the first have none.
    """

    table: Array
    file: Path
    seconds: float = 0.0
    trouble: str = ""


def get_features(ready: Ready, samples: Samples, world: World, folder: Path) -> Features:
    """Give the features of all images: those that an earlier call kept in `folder`, or fresh ones, which are then kept.

    The name of the file stands for all that they depend on; one that is damaged is written anew. Raises DataError for a
    broken image.
    """
    key = make_key(ready, samples) if world.is_first else ""
    file = folder / f"{key[:32]}.npz"
    found = read_features(file, key, len(samples)) if world.is_first else None
    if world.share(found is not None):
        return Features(np.empty((0, 0), np.float32) if found is None else found, file)
    begin = time.monotonic()
    table = extract_features(ready, samples, world)
    seconds = time.monotonic() - begin
    return Features(table, file, seconds, keep_features(file, key, table) if world.is_first else "")


@torch.inference_mode()
def extract_features(ready: Ready, samples: Samples, world: World) -> Array:
    """Compute the features (n, d) of all images, in their order, whatever the number of processes; the first has them.

    They are what the last layer sees: pooled tokens, behind the hidden layer if the head has one (big_vision, `pre_logits`).
    """
    kept = []
    with packing(ready.model, world.device, ready.precision):
        for batch in read_batches(ready, samples, world):
            features = look(ready, batch.to(world.device).images)
            kept.append((batch.indices, features.cpu()))
    width = kept[0][1].shape[1]
    parts = world.collect(pack(kept, width))
    return join_records(parts)[1] if parts else np.empty((0, width), np.float32)


def look(ready: Ready, images: Tensor) -> Tensor:
    """Compute the features (b, d) of uint8 images (b, 3, h, w)."""
    head = getattr(ready.model, "head", None)
    with autocast(images.device, ready.precision):
        features: Tensor = ready.model.features(ready.prepare(images))
        return (head.represent(features) if isinstance(head, MlpHead) else features).float()


def make_key(ready: Ready, samples: Samples) -> str:
    """Give one SHA-256, in hex, over all that features depend on: weights, preprocessing, precision, and the images."""
    depends = {
        "version": __version__,
        "model": ready.saved.about["model"],
        "weights": ready.model.state_dict(),
        "preprocess": ready.preprocess.model_dump(mode="json"),
        "res": tuple(ready.res),
        "precision": ready.precision,
        "images": fingerprint(samples),
        "times": list_times(samples),
    }
    total = hashlib.sha256()
    for part in canonical(depends):
        total.update(part)
    return total.hexdigest()


def list_times(samples: Samples) -> bytes:
    """Give size and time of change of every file, for a picture may be replaced under its name; nothing where there are none."""
    base, rows = samples, np.arange(len(samples))
    while isinstance(base, View):
        rows, base = base.rows[rows], base.base
    if not isinstance(base, Files):
        return b""
    found = np.full((len(rows), 2), -1, dtype="<i8")
    for place, row in enumerate(rows.tolist()):
        path = base.path(row)
        if os.path.exists(path):  # noqa: PTH110 - a path of bytes; one that is gone is told of when it is read
            status = os.stat(path)  # noqa: PTH116
            found[place] = status.st_size, status.st_mtime_ns
    return found.tobytes()


def read_features(file: Path, key: str, images: int) -> Array | None:
    """Read the features (n, d) that are kept in a file; None if it is not there, is damaged or is not what it says."""
    if not file.is_file():
        return None
    try:
        arrays = read_npz(file)
    except CheckpointError:
        return None
    stamp, table = arrays.get("key"), arrays.get("features")
    if stamp is None or table is None or table.ndim != 2 or table.dtype != torch.float32:
        return None
    is_right = len(table) == images and np.array_equal(stamp.numpy(), as_numbers(key))
    return table.numpy() if is_right else None


def keep_features(file: Path, key: str, table: Array) -> str:
    """Write features to a file, whole or not at all; give the reason if they can't be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_npz(file, {"key": as_numbers(key), "features": table})
    except OSError as error:
        return f"{file.parent}: {error.strerror}"
    except TrainingError as error:
        return error.problem
    return ""


def as_numbers(key: str) -> NDArray[np.int64]:
    """Write a digest as four numbers."""
    return np.frombuffer(bytes.fromhex(key), dtype="<i8").astype(np.int64)


def find_place(model: Path) -> Path:
    """Give the folder that keeps features of a model: `features` in its run, or beside the file or in the model folder."""
    return find_home(model.resolve()) / "features"

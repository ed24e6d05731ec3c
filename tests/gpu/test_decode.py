"""What nvJPEG makes of photos is what the workers' decoder makes of them, but for its rounding and its way with coarse colours."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_cli.augment.crops import RandomResizedCrop
from vit_cli.augment.preprocess import Preprocess
from vit_cli.augment.transforms import build_augmentation
from vit_cli.data.encoded import decode_batch
from vit_cli.data.folder import Folder
from vit_cli.data.loader import TrainBatches
from vit_cli.data.order import Order
from vit_cli.section import Grid

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning"),
]
RES = Grid(64, 96)
MEAN_LEVELS = 2.0


def write_photos(root: Path) -> None:
    """Write JPEGs of smooth colours with a little noise, of several sizes and ways to halve colours; one is broken."""
    random = np.random.default_rng(0)
    for number in range(24):
        colours = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        pixels = np.asarray(colours.resize((300 + 10 * number, 400 - 7 * number), Image.Resampling.BICUBIC))
        noisy = np.clip(pixels + random.normal(0, 3, (*pixels.shape[:2], 1)), 0, 255).astype(np.uint8)
        file = root / f"{number % 2}/{number:02d}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy).save(file, quality=92, subsampling=number % 3)
    content = file.read_bytes()
    at = content.index(b"\xff\xdb")
    file.write_bytes(content[:at] + content[at + 69 :])  # without the first table of 2 + 67 bytes


def test_photos_decoded_on_the_gpu_are_within_two_levels_on_average(tmp_path: Path) -> None:
    write_photos(tmp_path)
    samples = Folder(root=tmp_path).open()
    augmentation = build_augmentation((RandomResizedCrop(),), RES, Preprocess())
    batches = partial(
        TrainBatches, samples, Order(len(samples), 0, 24), augmentation, steps=range(3), changes=False, res=RES
    )
    finish = partial(decode_batch, device=torch.device("cuda"), res=RES, make=batches().make_of)
    for here, encoded in zip(batches(), batches(decodes=False), strict=True):
        there = finish(encoded)
        assert there.images.is_cuda
        assert torch.equal(here.labels, there.labels)
        assert here.bad == there.bad != ()
        apart = (here.images.int() - there.images.cpu().int()).abs().float().mean((1, 2, 3))
        assert apart.max() <= MEAN_LEVELS

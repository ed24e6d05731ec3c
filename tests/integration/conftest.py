"""The real command, run inside this process or as one of its own, and small data to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from vit_cli.cli.main import main


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def is_refused(result: Result, code: int, *words: str) -> bool:
    """Tell whether a command ended with this code and one message, without a traceback, that has these words."""
    is_one_message = result.err.count("Error:") == 1 and "Traceback" not in result.err
    return result.code == code and is_one_message and all(word in result.err for word in words)


COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 60, 40)}

TINY = """\
model: {{name: vit, width: 32, depth: 2, heads: 2, patch: 8, res: 32, pool: gap, drop_path: 0.1, dropout: 0.1}}
data:
  train: {{name: folder, root: {root}}}
  workers: {workers}
augment:
  - {{name: random_resized_crop, scale: [0.5, 1.0]}}
  - {{name: flip}}
mix: {{mixup: 0.4, cutmix: 1.0}}
optim: {{name: adamw, lr: 2e-3}}
train: {{steps: {steps}, batch_size: 8, precision: fp32, ema: {{decay: 0.9}}}}
eval: {{every: 4 steps}}
save: {{every: 4 steps}}
track: {{log_every: 1 steps}}
"""


@pytest.fixture
def vit(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `vit` with these arguments in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["vit", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def vit_process(tmp_path: Path) -> Run:
    """Run `python -m vit_cli` with these arguments as a process of its own, in an empty folder."""

    def run(*arguments: object, **options: object) -> Result:
        words = [sys.executable, "-m", "vit_cli", *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment, **options
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def write_photos(root: Path, per_class: int = 12, size: tuple[int, int] = (40, 48)) -> Path:
    """Write class folders of noisy pictures, a colour for a class; every picture is different."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.clip(random.normal(colour, 40, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.jpg", quality=90)
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with a dozen pictures each."""
    return write_photos(tmp_path / "photos")


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> Path:
    """A recipe of a few steps on the photos, with dropout, mixing and averaging on."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(root=photos, workers=0, steps=10))
    return path

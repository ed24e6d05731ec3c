"""The micro batch that fits, by what a GPU has room for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import Run, vit
from vit_cli.train.fit import MARGIN

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
assert vit  # the fixture is used by name
SMALL = [
    "model={name: vit, size: small, patch: 16, res: 224}", "data.train.images=700", "train.batch_size=512",
    "train.steps=2", "train.precision=fp32", "train.micro_batch=auto", "schedule.warmup=1 steps", "eval.batch_size=16",
]  # fmt: skip
ROOM = 2 * 2**30
"""Bytes beside the margin: a batch of 512 takes about ten times as much."""


@pytest.fixture
def small_gpu() -> Iterator[None]:
    """Let this process have little more of the GPU than the margin of a trial."""
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(MARGIN + (ROOM + torch.cuda.memory_allocated()) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_batch_that_fits_stays_in_one_piece(vit: Run, tmp_path: Path) -> None:
    assert vit("train", "smoke", "train.micro_batch=auto", "--out", tmp_path / "run", "-q").code == 0
    assert json.loads((tmp_path / "run/plan.json").read_text())["micro_batches"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("small_gpu")
def test_on_a_small_gpu_the_number_is_small_and_the_run_goes_through(vit: Run, tmp_path: Path) -> None:
    assert vit("train", "smoke", *SMALL, "--out", tmp_path / "run", "-q").code == 0
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert 1 <= plan["micro_batch"] <= 128
    assert plan["micro_batch"] * plan["micro_batches"] == plan["batch_size"] == 512

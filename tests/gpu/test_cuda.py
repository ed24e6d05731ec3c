"""What only a GPU can show; skipped without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import TINY, Run, vit, write_photos

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
assert vit  # the fixture is used by name


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(root=write_photos(tmp_path / "photos"), workers=2, steps=20))
    return path


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()]


def test_a_dry_run_and_a_measurement_hold_together(vit: Run, recipe: Path) -> None:
    dry = json.loads(vit("train", recipe, "--dry-run", "--json").out)
    assert 0 < dry["activation_gib"] < dry["memory_gib"]
    assert dry["images_per_second"] >= dry["images_per_second_with_data"] > 0
    facts = json.loads(vit("bench", recipe, "--json", "--seconds", 1).out)
    assert 0 < facts["training"]["mfu"] < 1
    assert 0 < facts["latency"]["p50_ms"] <= facts["latency"]["p95_ms"]
    assert facts["augment"] == ["random_resized_crop", "flip"]


def test_bf16_follows_fp32(vit: Run, recipe: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16", "bf16_stream"):
        words = [f"train.precision={precision}", "--out", tmp_path / precision, "-q"]
        assert vit("train", recipe, "model.dropout=0", "model.drop_path=0", *words).code == 0
    for precision in ("bf16", "bf16_stream"):
        assert losses(tmp_path / precision) == pytest.approx(losses(tmp_path / "fp32"), abs=0.02)


def test_the_gpu_and_the_cpu_learn_alike(vit: Run, recipe: Path, tmp_path: Path) -> None:
    for device in ("0", "cpu"):
        words = ["--devices", device, "--out", tmp_path / device, "-q"]
        assert vit("train", recipe, "model.dropout=0", "model.drop_path=0", *words).code == 0
    assert losses(tmp_path / "0") == pytest.approx(losses(tmp_path / "cpu"), abs=1e-3)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
@pytest.mark.parametrize("decode", ["cpu", "gpu"])
def test_a_stopped_run_ends_equal_to_the_bit(vit: Run, recipe: Path, tmp_path: Path, decode: str) -> None:
    changes = ("train.deterministic=true", f"data.decode={decode}", "data.cache=none")
    assert vit("train", recipe, *changes, "--out", tmp_path / "whole", "-q").code == 0
    assert vit("train", recipe, *changes, "--out", tmp_path / "parted", "--time", "0s", "-q").code == 143
    assert vit("resume", tmp_path / "parted", "-q").code == 0
    one, two = (
        torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True)["model"] for name in ("whole", "parted")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)

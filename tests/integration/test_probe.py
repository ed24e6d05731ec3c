"""`vit probe` as a user runs it: on a run and on weights without a head, on one process and two, twice in a row."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.conftest import Result, Run, is_refused, write_photos
from vit_cli.checkpoint.model import open_model, write_model
from vit_cli.checkpoint.npz import read_npz

pytestmark = pytest.mark.slow


@pytest.fixture
def run(vit: Run, recipe: Path, tmp_path: Path) -> Path:
    """A run of two steps on the photos."""
    assert vit("train", recipe, "--out", tmp_path / "run", "-q", "train.steps=2").code == 0
    return tmp_path / "run"


def read(result: Result) -> dict[str, Any]:
    assert (result.code, result.err) == (0, "")
    found: dict[str, Any] = json.loads(result.out)
    return found


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    scores = [{key: value for key, value in one.items() if key != "seconds"} for one in found["scores"]]
    return {key: value for key, value in found.items() if key not in ("seconds", "files")} | {"scores": scores}


def test_a_run_is_probed_and_the_second_time_no_image_is_read(vit: Run, run: Path, photos: Path) -> None:
    shown = vit("probe", run, "--shots", "1,5,50")
    assert shown.code == 0, shown
    head, *rows = shown.out.splitlines()
    assert head.split() == ["protocol", "top-1", "%", "seed", "0", "seed", "1", "seed", "2", "seconds"]
    assert [row.split("  ")[0] for row in rows] == [
        "few-shot, 1 a class",
        "few-shot, 5 a class",
        "kNN, k 10",
        "kNN, k 20",
        rows[4].split("  ")[0],
    ]
    assert rows[4].startswith("linear, penalty ")
    assert "data  30 train + 6 held-out images, 3 classes" in shown.err
    assert "left out  few-shot, 50 a class: the class blue has 10 to learn from" in shown.err
    for path in photos.rglob("*.jpg"):
        status = path.stat()
        path.write_bytes(b"\0" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = read(vit("probe", run, "--shots", "1,5,50", "--json"))
    assert again["seconds"] == 0
    assert [one["reason"] for one in again["left_out"] if one["protocol"] == "fewshot"] == [
        "the class blue has 10 to learn from"
    ]
    assert f"{again['scores'][1]['top1']:.2f}" in rows[1]
    assert is_refused(vit("probe", run, "--cache", "elsewhere"), 3, "can't be evaluated")


def test_two_processes_probe_as_one(vit: Run, vit_process: Run, run: Path, tmp_path: Path) -> None:
    extra = write_photos(tmp_path / "extra", per_class=30)
    words = ("--data", extra, "--json", "--only", "knn,fewshot", "--shots", "1,5")
    one = read(vit("probe", run, *words, "--cache", tmp_path / "one"))
    two = read(vit_process("probe", run, *words, "--cache", tmp_path / "two", "--devices", 2))
    assert without_times(two) == without_times(one)
    assert len(one["files"]) == 2
    for first, second in zip(one["files"], two["files"], strict=True):
        alone, together = read_npz(Path(first)), read_npz(Path(second))
        assert alone.keys() == together.keys() == {"key", "features"}
        assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_weights_without_a_head_are_probed_on_any_classes(vit: Run, run: Path, tmp_path: Path) -> None:
    whole = open_model(run)
    headless = {name: tensor for name, tensor in whole.weights.items() if not name.startswith("head.")}
    about = {key: whole.about[key] for key in ("model", "res", "preprocess")} | {"class_names": [], "data": None}
    write_model(tmp_path / "headless", headless, about)
    words = ("--data", tmp_path / "photos", "--json", "--only", "linear", "--res", 64)
    scores = [read(vit("probe", model, *words)) for model in (tmp_path / "headless", run)]
    assert scores[0]["res"] == [64, 64]
    assert scores[0]["scores"][0]["top1"] == scores[1]["scores"][0]["top1"]
    assert is_refused(vit("probe", tmp_path / "headless"), 2, "does not say what data", "--data")


def test_what_can_not_be_is_told_before_anything_is_computed(vit: Run, run: Path, tmp_path: Path) -> None:
    for words, told in (
        (("--only", "knn,magic"), "'magic'"),
        (("--shots", "1,0"), "--shots 1,0"),
        (("--split", "val"), "--split goes with --data"),
        (("--cache", run / "resolved.yaml"), "is no folder"),
    ):
        assert is_refused(vit("probe", run, *words), 2, told)
    assert not (run / "features").exists()
    few = write_photos(tmp_path / "few", per_class=2)
    assert is_refused(
        vit("probe", run, "--data", few, "--only", "knn,fewshot", "--shots", "9"),
        3,
        "too few images",
        "kNN, k 10",
        "few-shot, 9",
    )

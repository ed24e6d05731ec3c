"""A student learns from a teacher's run, goes on exactly where it stopped, and needs no teacher afterwards."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from tests.integration.conftest import TINY, Run, is_refused, write_photos
from vit_cli.checkpoint.file import read_checkpoint

DEIT = TINY.replace("name: vit", "name: deit").replace(", pool: gap", "")
HARD = "distill: {teacher: teacher, kind: hard, alpha: 0.5}\n"
SOFT = "distill: {teacher: teacher, kind: soft, alpha: 0.3, tau: 3.0}\n"


def write(path: Path, photos: Path, text: str, distill: str = "", steps: int = 6) -> Path:
    path.write_text(text.format(root=photos, workers=0, steps=steps) + distill)
    return path


@pytest.fixture
def teacher(vit: Run, photos: Path, tmp_path: Path) -> Path:
    """The run of a teacher that takes smaller pictures, in another normalisation."""
    recipe = write(tmp_path / "teacher.yaml", photos, TINY)
    changes = ("model.res=24", "data.mean=[0.4,0.5,0.6]", "data.std=[0.2,0.3,0.25]")
    assert vit("train", recipe, *changes, "--out", tmp_path / "teacher", "-q").code == 0
    return tmp_path / "teacher"


@pytest.fixture
def student(photos: Path, tmp_path: Path) -> Path:
    """A recipe for a student with a distillation token, in micro batches, with mixing, dropout and averaging."""
    path = write(tmp_path / "student.yaml", photos, DEIT, HARD)
    path.write_text(path.read_text().replace("batch_size: 8", "batch_size: 8, micro_batch: 4"))
    return path


def learned(run: Path) -> dict[str, Any]:
    content = read_checkpoint(run / "checkpoints/last.pt")
    return {**content["model"], **{f"ema.{name}": tensor for name, tensor in content["ema"].items()}}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("teacher")
def test_a_stopped_student_ends_equal_to_the_bit(vit: Run, student: Path, tmp_path: Path) -> None:
    result = vit("train", student, "--out", tmp_path / "whole")
    assert result.code == 0, result
    header = next(line for line in result.err.splitlines() if line.startswith("teacher"))
    assert str(tmp_path / "teacher") in header
    assert "hard, alpha 0.5" in header
    codes = [vit("train", student, "--out", tmp_path / "parted", "--time", "0s", "-q").code]
    while codes[-1] == 143:
        codes.append(vit("resume", tmp_path / "parted", "--time", "0s", "-q").code)
    assert codes == [143] * 6 + [0]
    assert same(learned(tmp_path / "whole"), learned(tmp_path / "parted"))


@pytest.mark.usefixtures("teacher")
def test_a_distilled_model_needs_no_teacher_afterwards(vit: Run, student: Path, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert vit("train", student, "--out", run, "-q").code == 0
    assert not any("teacher" in name for name in learned(run))
    shutil.rmtree(tmp_path / "teacher")
    scores = json.loads(vit("eval", run, "--json").out)
    with (run / "metrics.csv").open() as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["top1"]))
    assert scores["top1"] == pytest.approx(float(best["top1"]))
    assert vit("predict", run, photos / "red/000.jpg").code == 0
    result = vit("finetune", run, "--res", 48, "train.epochs=1", "train.batch_size=8", "--out", tmp_path / "larger")
    assert result.code == 0, result
    assert "head  kept (3 classes)" in result.err
    others = write_photos(tmp_path / "others", per_class=4)
    shutil.rmtree(others / "red")
    words = ("--data", others, "train.epochs=1", "train.batch_size=4", "--out", tmp_path / "other")
    result = vit("finetune", run, *words)
    assert result.code == 0, result
    assert "head  replaced (3 -> 2 classes" in result.err


@pytest.mark.long
@pytest.mark.usefixtures("teacher")
def test_a_plain_student_learns_from_a_teacher_too(vit: Run, photos: Path, tmp_path: Path) -> None:
    for name, distill in (("alone", ""), ("hard", HARD), ("soft", SOFT)):
        recipe = write(tmp_path / f"{name}.yaml", photos, TINY, distill)
        assert vit("train", recipe, "--out", tmp_path / name, "-q").code == 0
    first = [losses(tmp_path / name)[0] for name in ("alone", "hard", "soft")]
    assert first[1] == pytest.approx(first[0], abs=1e-6), "ln 3 both, for a student that knows nothing"
    assert first[2] != pytest.approx(first[0], abs=1e-3)
    assert not same(learned(tmp_path / "alone"), learned(tmp_path / "hard"))


def test_going_on_with_another_teacher_is_refused(
    vit: Run, student: Path, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert vit("train", student, "--out", run, "--time", "0s", "-q").code == 143
    other = write(tmp_path / "other.yaml", photos, TINY)
    assert vit("train", other, "seed=1", "model.res=24", "--out", tmp_path / "other", "-q").code == 0
    before = read_checkpoint(run / "checkpoints/last.pt")["about"]["teacher"]
    result = vit("resume", run, f"distill.teacher={tmp_path / 'other'}")
    assert is_refused(result, 4, "the teacher is not that of the run any more", f"{before} -> ")
    assert is_refused(vit("resume", run, "distill.alpha=0.1"), 4, "distill.alpha: 0.5 -> 0.1")
    teacher.rename(tmp_path / "moved")
    assert is_refused(vit("resume", run), 4, "there is no teacher", "distill.teacher=")
    result = vit("resume", run, f"distill.teacher={tmp_path / 'moved'}")
    assert result.code == 0, result
    assert f"changed: distill.teacher: {teacher} -> {tmp_path / 'moved'}" in result.err


def test_a_teacher_that_lacks_a_class_is_refused(vit: Run, student: Path, teacher: Path, photos: Path) -> None:
    (photos / "red").rename(photos / "yellow")
    result = vit("train", student, "--out", "run")
    assert is_refused(result, 4, f"the teacher {teacher} does not know the class 'yellow'", "blue, green, red")
    assert not Path("run").exists()


def test_a_model_of_torchvision_teaches_from_a_file(vit: Run, photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "resnet.pth")
    line = "distill: {{teacher: {{name: torchvision, model: {}, weights: resnet.pth}}}}\n"
    recipe = write(tmp_path / "student.yaml", photos, DEIT, line.format("resnet18"), steps=2)
    dry = vit("train", recipe, "--dry-run")
    assert dry.code == 0, dry
    assert f"teacher  torchvision's resnet18, 11.18 M parameters, {tmp_path / 'resnet.pth'}" in dry.err
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    assert vit("eval", tmp_path / "run", "-q").code == 0
    wrong = write(tmp_path / "wrong.yaml", photos, DEIT, line.format("resnet_18"))
    assert is_refused(vit("train", wrong), 2, "no classification model 'resnet_18'", "resnet18")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("teacher")
def test_two_processes_distil_as_one(vit: Run, vit_process: Run, student: Path, tmp_path: Path) -> None:
    student.write_text(student.read_text().replace("drop_path: 0.1, dropout: 0.1", "drop_path: 0.0, dropout: 0.0"))
    assert vit("train", student, "train.micro_batch=2", "--out", tmp_path / "one", "-q").code == 0
    for name, shard in (("two", "none"), ("parts", "full")):
        words = ("--out", tmp_path / name, "--devices", 2, "-q")
        result = vit_process("train", student, "train.micro_batch=2", f"train.shard={shard}", *words)
        assert result.code == 0, result
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    words = ("train", student, "--devices", 2, "-q", "train.micro_batch=2")
    assert vit_process(*words, "--out", tmp_path / "parted", "--time", "0s").code == 143
    assert vit_process("resume", tmp_path / "parted", "--devices", 2, "-q").code == 0
    assert same(learned(tmp_path / "two"), learned(tmp_path / "parted"))

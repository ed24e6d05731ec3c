"""Whatever a user can get wrong ends in one message and the exit code that the README lists, and costs nothing."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.integration.conftest import Result, Run, is_refused, write_photos


def edit(recipe: Path, **sections: object) -> Path:
    """Change a recipe's sections: a dict is merged into what is there."""
    content = yaml.safe_load(recipe.read_text())
    for key, value in sections.items():
        content[key] = content[key] | value if isinstance(value, dict) and key in content else value
    recipe.write_text(yaml.safe_dump(content))
    return recipe


@pytest.fixture
def run_folder(vit: Run, recipe: Path, tmp_path: Path) -> Path:
    """A finished run."""
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    return tmp_path / "run"


# Recipes


@pytest.mark.case("C1", "C6")
def test_all_problems_of_a_recipe_come_at_once_with_their_lines(vit: Run, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("lr: 2e-3", "lrr: 2e-3").replace("res: 32", "res: 33") + "epochs: 3\n")
    result = vit("train", recipe)
    assert is_refused(
        result,
        2,
        "tiny.yaml has 3 problems",
        "did you mean 'lr'?",
        "the nearest are 32 and 40",
        "it belongs under 'train'",
    )
    assert "tiny.yaml:1 " in result.err


@pytest.mark.case("C2")
def test_a_wrong_type(vit: Run, recipe: Path) -> None:
    assert is_refused(vit("train", recipe, "train.batch_size=many"), 2, "train.batch_size", "expected a whole number")


@pytest.mark.case("C4")
def test_a_duplicate_key(vit: Run, recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "mix: {mixup: 1.0}\n")
    assert is_refused(vit("train", recipe), 2, "tiny.yaml:", "mix")


def test_a_recipe_that_is_not_there(vit: Run) -> None:
    assert is_refused(vit("train", "digit"), 2, "Did you mean digits?")


def test_an_unknown_verb_and_an_unknown_flag(vit: Run) -> None:
    assert vit("trian", "digits").code == 2
    assert vit("train", "digits", "--epochs", 3).code == 2


def test_a_batch_larger_than_the_dataset(vit: Run, recipe: Path) -> None:
    assert is_refused(vit("train", recipe, "train.batch_size=512"), 2, "512 is more than the 30 training images")


@pytest.mark.case("C6")
def test_a_resolution_that_the_patch_does_not_divide(vit: Run, run_folder: Path) -> None:
    assert is_refused(
        vit("finetune", run_folder, "--res", 50), 2, "50 is not a multiple of patch 8; the nearest are 48 and 56"
    )
    assert is_refused(vit("eval", run_folder, "--res", 50), 2, "the nearest are 48 and 56")


# Data


def test_a_missing_folder(vit: Run, recipe: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "photos")
    assert is_refused(vit("train", recipe), 3, "photos")
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


@pytest.mark.case("S1")
def test_an_empty_class_folder(vit: Run, recipe: Path, photos: Path) -> None:
    (photos / "yellow").mkdir()
    assert is_refused(vit("train", recipe), 3, "yellow")


@pytest.mark.case("S5")
def test_a_flat_folder(vit: Run, recipe: Path, photos: Path) -> None:
    assert is_refused(vit("train", recipe, f"data.train.root={photos / 'red'}"), 3, "red")


@pytest.mark.case("S2")
def test_a_class_that_only_validation_has(vit: Run, recipe: Path, tmp_path: Path) -> None:
    other = write_photos(tmp_path / "val", per_class=2)
    (other / "red").rename(other / "purple")
    assert is_refused(vit("train", recipe, f"data.val={{name: folder, root: {other}}}"), 3, "purple")


@pytest.mark.case("S2")
def test_a_class_that_validation_lacks_is_fine(vit: Run, recipe: Path, tmp_path: Path) -> None:
    other = write_photos(tmp_path / "val", per_class=2)
    shutil.rmtree(other / "red")
    assert vit("train", recipe, f"data.val={{name: folder, root: {other}}}", "-q").code == 0


def test_a_missing_split_folder_is_no_fallback(vit: Run, recipe: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "split/train")
    assert is_refused(
        vit("train", recipe, f"data.train={{name: folder, root: {tmp_path / 'split'}, split: val}}"), 3, "val", "train"
    )


def test_one_image_per_class(vit: Run, recipe: Path, photos: Path) -> None:
    for path in photos.rglob("*.jpg"):
        if path.name != "000.jpg":
            path.unlink()
    assert is_refused(vit("train", recipe, "train.batch_size=2"), 3, "held out")


def damage(photos: Path, kind: str) -> None:
    """Break the picture red/001.jpg."""
    path = photos / "red/001.jpg"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:400])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_bytes(b"<html>404</html>")
    else:
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


@pytest.mark.case("I1", "I2", "I4", "I14")
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "huge"])
def test_a_broken_training_image_is_replaced_and_written_down(
    vit: Run, recipe: Path, photos: Path, tmp_path: Path, kind: str
) -> None:
    val = write_photos(tmp_path / "val", per_class=2)
    damage(photos, kind)
    result = vit(
        "train", recipe, f"data.val={{name: folder, root: {val}}}", "train.steps=12", "--out", tmp_path / "run", "-q"
    )
    assert result.code == 0, result.err
    assert result.err == ""
    told = f"1 of 36 training images is broken and was replaced: {tmp_path}/run/bad_images.jsonl"
    assert told in (tmp_path / "run/train.log").read_text()
    lines = (tmp_path / "run/bad_images.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert "001.jpg" in lines[0]


@pytest.mark.case("I17")
def test_too_many_broken_training_images_end_the_run(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    val = write_photos(tmp_path / "val", per_class=2)
    for path in (photos / "red").iterdir():
        path.write_bytes(b"")
    assert is_refused(vit("train", recipe, f"data.val={{name: folder, root: {val}}}"), 3, "broken", "bad_images.jsonl")


@pytest.mark.case("I18")
def test_a_broken_validation_image_is_an_error(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    val = write_photos(tmp_path / "val", per_class=2)
    damage(val, "truncated")
    assert is_refused(vit("train", recipe, f"data.val={{name: folder, root: {val}}}"), 3, "001.jpg")


def test_decoding_on_a_gpu_needs_one_that_also_changes_the_images(vit: Run, recipe: Path) -> None:
    decode = ("data.decode=gpu", "--devices", "cpu")
    assert is_refused(vit("train", recipe, *decode), 2, "needs a CUDA device", "data.decode=cpu")
    assert is_refused(
        vit("train", recipe, "data.augment_on=workers", *decode), 2, "data", "augment_on must be auto or device"
    )


# Checkpoints


def test_a_truncated_checkpoint(vit: Run, run_folder: Path) -> None:
    path = (run_folder / "checkpoints/last.pt").resolve()
    path.write_bytes(path.read_bytes()[:-1000])
    assert is_refused(vit("eval", path), 4, path.name)


class Touch:
    """What a hostile file holds: loading it would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.case("K4")
@pytest.mark.parametrize("wrapping", ["bare", "torch"])
def test_a_pickle_that_would_run_code(vit: Run, tmp_path: Path, wrapping: str) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "executed"
    if wrapping == "bare":
        path.write_bytes(pickle.dumps(Touch(marker)))
    else:
        torch.save({"format": "vit checkpoint", "format_version": 1, "model": Touch(marker)}, path)
        assert zipfile.is_zipfile(path)
    for command in (["eval", path], ["finetune", path], ["predict", path, path]):
        assert is_refused(vit(*command), 4, "evil.pt")
    assert not marker.exists()


@pytest.mark.case("K8")
def test_a_checkpoint_of_another_model(vit: Run, run_folder: Path) -> None:
    config = run_folder / "model/config.json"
    config.write_text(config.read_text().replace('"width": 32', '"width": 64'))
    assert is_refused(
        vit("eval", run_folder / "model"), 4, "blocks.0.attention.out.weight: 32x32 in the file, 64x64 in the model"
    )


def test_a_folder_without_a_model(vit: Run, photos: Path) -> None:
    assert is_refused(vit("eval", photos), 4, "holds no model")


def test_no_run_yet(vit: Run) -> None:
    assert is_refused(vit("finetune", "--res", 384), 2, "there is no run here yet")
    assert is_refused(vit("resume"), 2, "there is no run here yet")


def test_a_fine_tuning_recipe_is_not_trained_and_the_other_way_round(vit: Run, run_folder: Path) -> None:
    assert is_refused(vit("train", "finetune"), 2, "vit finetune")
    assert is_refused(vit("finetune", run_folder, "--recipe", "smoke"), 2, "vit train smoke")


# Places to write to


@pytest.mark.case("C8")
def test_an_output_folder_that_is_not_empty(vit: Run, recipe: Path, photos: Path) -> None:
    assert is_refused(vit("train", recipe, "--out", photos), 2, "is not empty", "--overwrite")
    assert len(list(photos.rglob("*.jpg"))) == 36


@pytest.mark.case("C8")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_not_be_written(vit: Run, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert is_refused(vit("train", recipe, "--out", tmp_path / "locked/run"), 2, "can't be made")


@pytest.mark.case("C8")
def test_an_output_that_is_a_file(vit: Run, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert is_refused(vit("train", recipe, "--out", tmp_path / "file"), 2, "is a file")
    assert is_refused(vit("train", recipe, "--out", tmp_path / "file/run"), 2, "can't be made")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_no_space_left_for_a_checkpoint(recipe: Path, tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000));"
        "sys.argv = ['vit', *sys.argv[1:]]; from vit_cli.cli.main import main; main()"
    )
    words = [sys.executable, "-c", program, "train", str(recipe), "--out", "run", "-q", "data.cache=none"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert is_refused(Result(done.returncode, done.stdout, done.stderr), 5, "can't be written")
    assert list((tmp_path / "run/checkpoints").iterdir()) == [], "no half checkpoint"


# Numbers


def test_a_loss_that_is_not_finite(vit: Run, recipe: Path, tmp_path: Path) -> None:
    result = vit(
        "train",
        recipe,
        "optim={name: sgd, lr: 1e12, momentum: 0.9}",
        "train.clip_norm=null",
        "--out",
        tmp_path / "run",
        "-q",
    )
    assert is_refused(result, 5, "the loss is not finite on process 0 in step")
    for path in (tmp_path / "run/checkpoints").glob("step-*.pt"):
        weights = torch.load(path, weights_only=True)["model"]
        assert all(tensor.isfinite().all() for tensor in weights.values())


def test_weights_that_overflow_are_never_saved(vit: Run, recipe: Path, tmp_path: Path) -> None:
    overflow = [
        "optim={name: sgd, lr: 1e39, momentum: 0.9}",
        "save.every=1 steps",
        "eval.every=1 steps",
        "track.log_every=5 steps",
    ]
    assert is_refused(vit("train", recipe, *overflow, "--out", tmp_path / "run", "-q"), 5, "not finite after step 1")
    assert list((tmp_path / "run/checkpoints").iterdir()) == []
    assert not (tmp_path / "run/model").exists()


def test_an_overwritten_run_forgets_the_broken_images_of_the_old_one(
    vit: Run, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    val = write_photos(tmp_path / "val", per_class=2)
    damage(photos, "text")
    words = [
        "train",
        recipe,
        f"data.val={{name: folder, root: {val}}}",
        "train.steps=12",
        "--out",
        tmp_path / "run",
        "-q",
    ]
    assert vit(*words).code == 0
    assert vit(*words, "--overwrite").code == 0
    assert len((tmp_path / "run/bad_images.jsonl").read_text().splitlines()) == 1


def test_a_gate_that_is_not_met(vit: Run, run_folder: Path, photos: Path) -> None:
    wrong = photos.with_name("wrong")
    shutil.copytree(photos, wrong)
    (wrong / "red").rename(wrong / "swap")
    (wrong / "blue").rename(wrong / "red")
    (wrong / "swap").rename(wrong / "blue")
    assert is_refused(vit("eval", run_folder, "--data", wrong, "--fail-under", "top1=0.99"), 6, "top1 is", "below 0.99")
    assert is_refused(vit("eval", run_folder, "--fail-under", "top1=99"), 2, "top1=0.9")


def test_predicting_what_is_no_image(vit: Run, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    Image.new("RGB", (30, 30)).save(tmp_path / "good.png")
    result = vit("predict", run_folder, tmp_path / "text.jpg", tmp_path / "good.png", "--format", "csv")
    assert is_refused(result, 3, "text.jpg")
    assert "good.png" in result.out, "the others are done"
    assert is_refused(vit("predict", run_folder, tmp_path / "nowhere.png"), 3, "nowhere.png")

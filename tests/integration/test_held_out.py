"""What was held out from training once is never trained on by mistake, and fine-tuning starts from what FROM names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.conftest import Run, write_photos
from tests.integration.test_main_job import read_rows

SHORT = ("train={steps: 2, batch_size: 8, precision: fp32}", "-q")


@pytest.fixture
def run_folder(vit: Run, recipe: Path, tmp_path: Path) -> Path:
    """A finished run of two steps."""
    assert vit("train", recipe, *SHORT, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def held_out(vit: Run, run: Path) -> set[str]:
    """Give the paths of the images that a run is judged on."""
    path = run.with_suffix(".csv")
    assert vit("eval", run, "--predictions", path).code == 0
    return {row["path"] for row in read_rows(path)}


def test_images_held_out_stay_so_when_a_class_is_added(
    vit: Run, run_folder: Path, photos: Path, tmp_path: Path
) -> None:
    before = held_out(vit, run_folder)
    learned = {str(path) for path in photos.rglob("*.jpg")} - before
    more = write_photos(tmp_path / "more")
    (more / "red").rename(photos / "amber")
    for path in [*more.rglob("*.jpg")]:
        path.rename(photos / path.parent.name / f"new_{path.name}")
    tuned = vit("finetune", run_folder, *SHORT[:1], "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    assert "held out anew" not in tuned.err
    after = held_out(vit, tmp_path / "tuned")
    assert before < after
    assert not learned & after
    assert len([path for path in after if "/amber/" in path]) == 2


def test_other_data_is_held_out_anew_and_that_is_said(vit: Run, run_folder: Path, tmp_path: Path) -> None:
    other = write_photos(tmp_path / "other", per_class=30)
    tuned = vit("finetune", run_folder, "--data", other, "data.hold_out=0.5", *SHORT[:1], "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    assert "held out anew: the data is another one" in tuned.err
    assert len(held_out(vit, tmp_path / "tuned")) == 45


@pytest.mark.long
def test_another_share_is_held_out_anew_and_that_is_said(vit: Run, run_folder: Path, tmp_path: Path) -> None:
    tuned = vit("finetune", run_folder, "data.hold_out=0.5", *SHORT[:1], "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    assert "held out anew: the share is another one" in tuned.err
    assert len(held_out(vit, tmp_path / "tuned")) == 18


def test_from_counts_from_here_wherever_the_recipe_lies(vit: Run, run_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(Path(__file__).parents[2] / "recipes/finetune.yaml", elsewhere / "mine.yaml")
    (elsewhere / run_folder.name / "model").mkdir(parents=True)  # of the same name, beside the recipe
    tuned = vit("finetune", run_folder.name, "--recipe", elsewhere / "mine.yaml", *SHORT, "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    assert f"weights: {run_folder}/model" in (tmp_path / "tuned/resolved.yaml").read_text()


@pytest.mark.parametrize("change", ["finetune.weights=other", "finetune={weights: other}", "finetune=null"])
def test_the_weights_are_those_of_from_alone(vit: Run, run_folder: Path, change: str) -> None:
    tuned = vit("finetune", run_folder, change, *SHORT)
    assert tuned.code == 2
    assert "the weights are those of FROM" in tuned.err


def test_evaluation_needs_the_validation_images_alone(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    val = write_photos(tmp_path / "val", per_class=2)
    change = f"data.val={{name: folder, root: {val}}}"
    assert vit("train", recipe, change, *SHORT, "--out", tmp_path / "run").code == 0
    shutil.rmtree(photos)
    assert len(held_out(vit, tmp_path / "run")) == 6


@pytest.mark.parametrize(("seed", "code"), [(2**63 - 1, 0), (2**63, 2)])
def test_a_seed_has_63_bits(vit: Run, recipe: Path, seed: int, code: int) -> None:
    assert vit("train", recipe, f"seed={seed}", "--dry-run").code == code


def test_an_l1_penalty_goes_with_blocks_that_are_always_dropped(vit: Run, recipe: Path) -> None:
    result = vit("train", recipe, "model.drop_path=1.0", "loss={name: cross_entropy, l1: 1e-4}", "--dry-run")
    assert result.code == 0, result.err


@pytest.mark.slow
def test_the_largest_image_is_the_recipes_to_the_end_of_the_report(vit: Run, recipe: Path, tmp_path: Path) -> None:
    val = write_photos(tmp_path / "val", per_class=1)
    Image.new("L", (8001, 8000)).save(val / "red/000.png")
    changes = [f"data.val={{name: folder, root: {val}}}", "data.max_pixels=65000000"]
    result = vit("train", recipe, *changes, *SHORT, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    assert "red/000.png" in {Path(path).parent.name + "/" + Path(path).name for path in held_out(vit, tmp_path / "run")}

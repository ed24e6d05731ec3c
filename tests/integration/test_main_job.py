"""The commands that must work to the letter, and what they leave behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.integration.conftest import Run, is_refused, write_photos


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


FOLDER = [
    "recipe.yaml", "resolved.yaml", "plan.json", "env.json", "status.json", "metrics.csv", "steps.jsonl", "train.log",
    "summary.json", "README.md", "report.html", "checkpoints/last.pt", "checkpoints/best.pt", "model/model.safetensors",
    "model/config.json", "plots/curves.png", "plots/confusion_matrix.png", "samples/train_batch.png",
    "samples/predictions.png",
]  # fmt: skip


@pytest.mark.slow
def test_the_three_literal_commands(vit_process: Run, tmp_path: Path) -> None:
    trained = vit_process("train", "smoke")
    assert trained.code == 0, trained.err
    tuned = vit_process("finetune", "--res", "384")
    assert tuned.code == 0, tuned.err
    assert "positions  14x14 -> 24x24 (bicubic)" in tuned.err
    assert "head  kept (4 classes)" in tuned.err
    assert "before the first step at 384x384: top-1" in tuned.err
    judged = vit_process("eval", "runs/latest/checkpoints/best.pt", "--json")
    assert judged.code == 0, judged.err
    facts = json.loads(judged.out)
    assert facts.keys() >= {"top1", "top5", "loss", "images", "classes", "res", "seconds", "images_per_second"}
    assert (facts["images"], facts["classes"], facts["res"]) == (16, 4, [384, 384])
    assert len([path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]) == 2


def test_a_run_leaves_a_complete_folder(vit: Run, recipe: Path, tmp_path: Path) -> None:
    result = vit("train", recipe, "optim.lr=1e-3", "--out", tmp_path / "run", "--json")
    assert result.code == 0, result.err
    run = tmp_path / "run"
    assert [name for name in FOLDER if not (run / name).exists()] == []
    assert json.loads(result.out)["step"] == 10
    assert (run / "recipe.yaml").read_text().startswith(f"# vit train {recipe} optim.lr=1e-3")
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["step"]) == ("finished", 10)
    rows = read_rows(run / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [4, 8, 10]
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 11))
    assert steps[0]["loss"] == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-6), (
        "a zero head starts at ln K"
    )
    assert Path(tmp_path / "runs/latest").resolve() == run
    about = json.loads((run / "model/config.json").read_text())
    assert (about["class_names"], about["res"]) == (["blue", "green", "red"], [32, 32])
    assert load_file(run / "model/model.safetensors")["head.weight"].shape == (3, 32)


def test_a_resolved_recipe_runs_again_to_the_same_weights(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "a", "-q").code == 0
    assert vit("train", tmp_path / "a/resolved.yaml", "--out", tmp_path / "b", "-q").code == 0
    one, two = (load_file(tmp_path / name / "model/model.safetensors") for name in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_checkpoint_a_run_and_a_model_folder_give_the_same_scores(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    run = tmp_path / "run"
    places = [run / "checkpoints/best.pt", run, run / "model"]
    facts = [json.loads(vit("eval", place, "--json").out) for place in places]
    assert len({(fact["top1"], fact["loss"], fact["images"]) for fact in facts}) == 1
    rows = read_rows(run / "metrics.csv")
    assert facts[0]["loss"] == pytest.approx(
        min(float(row["val_loss"]) for row in rows if row["best"] == "True"), rel=1e-5
    )


def test_fine_tuning_never_trains_on_what_was_held_out(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    assert vit("eval", tmp_path / "run", "--predictions", tmp_path / "before.csv").code == 0
    for path in write_photos(tmp_path / "more", per_class=20).rglob("*.jpg"):
        target = photos / path.parent.name / f"new_{path.name}"
        path.rename(target)
    assert (
        vit(
            "finetune",
            tmp_path / "run",
            "--out",
            tmp_path / "tuned",
            "-q",
            "seed=3",
            "train.epochs=1",
            "train.batch_size=8",
        ).code
        == 0
    )
    assert vit("eval", tmp_path / "tuned", "--predictions", tmp_path / "after.csv").code == 0
    before, after = ({row["path"] for row in read_rows(tmp_path / name)} for name in ("before.csv", "after.csv"))
    assert before < after, "images held out once stay held out; new ones fall to both sides"
    assert len(after) < 96 / 2


def test_fine_tuning_on_other_classes_replaces_the_head(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    (photos / "red").rename(photos / "crimson")
    result = vit(
        "finetune",
        tmp_path / "run",
        "--data",
        photos,
        "--res",
        64,
        "--out",
        tmp_path / "tuned",
        "train.epochs=1",
        "train.batch_size=8",
    )
    assert result.code == 0, result.err
    assert "head  replaced (3 -> 3 classes, zero-initialised)" in result.err
    assert "positions  4x4 -> 8x8 (bicubic)" in result.err
    assert "before the first step" not in result.err
    names = json.loads((tmp_path / "tuned/model/config.json").read_text())["class_names"]
    assert names == ["blue", "crimson", "green"]


def test_predictions_have_every_digit_and_all_classes_when_asked(
    vit: Run, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    (photos / "red/odd.jpg").write_bytes(b"no image")
    result = vit("predict", tmp_path / "run", photos, "--format", "jsonl", "--top", 0)
    assert result.code == 3, "an unreadable image is reported"
    assert "odd.jpg" in result.err
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert len(lines) == 36
    for line in lines:
        probabilities = [pair["probability"] for pair in line["predictions"]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-12)
        assert probabilities == sorted(probabilities, reverse=True)
        assert {pair["class"] for pair in line["predictions"]} == {"blue", "green", "red"}
    top = vit("predict", tmp_path / "run", photos / "red/000.jpg", "--top", 1, "--format", "csv").out.splitlines()
    assert top[0] == "path,rank,class,probability"
    assert len(top) == 2


def test_evaluation_at_another_resolution_on_other_data_and_per_class(
    vit: Run, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    facts = json.loads(vit("eval", tmp_path / "run", "--data", photos, "--res", 64, "--per-class", "--json").out)
    assert (facts["images"], facts["res"]) == (36, [64, 64])
    assert [row["images"] for row in facts["per_class"]] == [12, 12, 12]
    judged = vit("eval", tmp_path / "run", "--fail-under", "top1=1.0,top5=0.5")
    assert judged.code in (0, 6)
    assert judged.out.startswith("top-1 ")
    assert "top-5" not in judged.out, "of three classes five are always right"
    assert vit("eval", tmp_path / "run", "--data", photos / "red").code == 3


def test_a_dry_run_makes_a_step_and_leaves_nothing(vit: Run, recipe: Path, tmp_path: Path) -> None:
    result = vit("train", recipe, "--dry-run", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["plan"]["total_steps"] == 10
    assert facts["parameters"] > 10_000
    assert facts["loss"] == pytest.approx(1.0986, abs=1e-3)
    assert not (tmp_path / "runs").exists()
    assert facts["images_per_second"] == pytest.approx(8 / facts["step_seconds"])
    assert facts["images_per_second_with_data"] < facts["images_per_second"]
    assert facts["training_flops_per_image"] == 3 * facts["flops_per_image"] - 2 * 16 * 192 * 32
    assert facts["estimated_seconds"] > 10 * 8 / facts["images_per_second_with_data"]
    assert facts["state_gib"] == pytest.approx(5 * 4 * facts["parameters"] / 2**30, rel=1e-3), "with averages"
    assert 0 < facts["activation_gib"] < facts["memory_gib"]


def test_a_dry_run_notices_that_its_place_is_taken(vit: Run, recipe: Path, photos: Path) -> None:
    result = vit("train", recipe, "--dry-run", "--out", photos)
    assert is_refused(result, 2, f"{photos} is not empty", "--overwrite")


def test_a_dry_run_foretells_evaluations_and_what_micro_batches_save(vit: Run, recipe: Path, tmp_path: Path) -> None:
    whole, halves = (
        json.loads(vit("train", recipe, "-n", "--json", f"train.micro_batch={size}").out) for size in (8, 4)
    )
    assert halves["activation_gib"] == pytest.approx(whole["activation_gib"] / 2, rel=0.02)
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]
    assert whole["evaluations"] == len(rows)


def test_a_dry_run_has_workers_make_images_during_its_steps(vit: Run, recipe: Path) -> None:
    facts = json.loads(vit("train", recipe, "-n", "--json", "data.workers=2", "model.width=128").out)
    assert facts["images_per_second_with_data"] <= facts["images_per_second"]
    assert facts["loss"] == pytest.approx(1.0986, abs=1e-3)


def test_a_dry_run_tells_people_in_four_lines_what_the_run_will_take(vit: Run, recipe: Path) -> None:
    lines = vit("train", recipe, "-n", "train.steps=1", "eval.every=1 steps").err.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["step", "speed", "memory", "run"]
    assert lines[-1].endswith("1 step and 1 evaluation")


def test_the_sample_pictures_are_pictures(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    for name in (
        "plots/curves.png",
        "plots/confusion_matrix.png",
        "samples/train_batch.png",
        "samples/predictions.png",
    ):
        with Image.open(tmp_path / "run" / name) as image:
            assert min(image.size) > 200

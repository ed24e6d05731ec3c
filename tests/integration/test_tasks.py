"""Several labels and numbers, through the real command: trained, resumed, evaluated, fine-tuned, asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.integration.conftest import Run, is_refused

RECIPE = """\
task: {task}
model: {{name: vit, width: 32, depth: 2, heads: 2, patch: 8, res: 16, pool: gap}}
data:
  train: {{name: table, file: {file}, root: {root}, image: photo, {targets}}}
  workers: 0
mix: {{mixup: 0.2}}
optim: {{name: adamw, lr: 5e-3}}
schedule: {{name: cosine, warmup: 2 steps}}
train: {{steps: {steps}, batch_size: 8, precision: fp32}}
eval: {{every: 10 steps, crop: 1.0}}
save: {{every: 10 steps}}
track: {{log_every: 1 steps}}
"""


def write_photos(folder: Path, images: int = 60) -> None:
    """Write pictures whose red and green are strong or weak, and a table of what they show."""
    random = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "colours", "euros", "grams"])
        for number in range(images):
            red, green = random.integers(0, 256, 2)
            name = f"{number:03d}.png"
            Image.new("RGB", (16, 16), (red, green, 60)).save(folder / "photos" / name)
            colours = [colour for colour, value in (("red", red), ("green", green)) if value > 127]
            writer.writerow([name, "|".join(colours), 5000 + 10 * int(red), int(green) / 1000])


def write_recipe(folder: Path, task: str, targets: str, steps: int = 30) -> Path:
    write_photos(folder)
    recipe = folder / f"{task}.yaml"
    names = {"task": task, "targets": targets, "steps": steps}
    recipe.write_text(RECIPE.format(file=folder / "table.csv", root=folder / "photos", **names))
    return recipe


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def ends_the_same(vit: Run, recipe: Path, folder: Path) -> Path:
    """Train a run at once and another in parts, and give the first; both must end with the same weights."""
    assert vit("train", recipe, "--out", folder / "whole", "-q").code == 0
    code = vit("train", recipe, "--out", folder / "parted", "--time", "0s", "-q").code
    assert code == 143
    assert vit("resume", folder / "parted", "-q").code == 0
    one, two = (load_file(folder / name / "model/model.safetensors") for name in ("whole", "parted"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    return folder / "whole"


def test_several_labels_are_learned_resumed_judged_and_told(vit: Run, tmp_path: Path) -> None:
    run = ends_the_same(vit, write_recipe(tmp_path, "multilabel", "target: colours"), tmp_path)
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert steps[0]["loss"] == pytest.approx(2 * np.log(2), abs=1e-6), "a zero head knows nothing of both labels"
    rows = read_rows(run / "metrics.csv")
    assert {"map", "macro_f1"} < rows[0].keys()
    facts = json.loads(vit("eval", run, "--json", "--per-class", "--predictions", "said.csv").out)
    assert (facts["images"], facts["labels"]) == (12, 2)
    assert facts["map"] == pytest.approx(max(float(row["map"]) for row in rows))
    assert facts["map"] > 75, "better than chance"
    assert [row["class"] for row in facts["per_class"]] == ["green", "red"]
    said = read_rows(tmp_path / "said.csv")
    right = [row["labels"] == row["predictions"] for row in said]
    assert facts["exact_match"] == pytest.approx(100 * np.mean(right))
    lines = vit("predict", run, tmp_path / "photos", "--format", "jsonl").out.splitlines()
    for line in map(json.loads, lines):
        probabilities = [pair["probability"] for pair in line["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert all(probability > 0.5 for probability in probabilities)
    assert not (run / "plots/confusion_matrix.png").exists()
    assert "green" in (run / "report.html").read_text()
    assert is_refused(vit("eval", run, "--fail-under", "map=1.0,exact_match=1.0,loss=0.001"), 6, "loss is", "above")
    assert is_refused(vit("eval", run, "--fail-under", "top1=0.5"), 2, "multilabel has no such score")
    names = [str(path) for path in sorted((tmp_path / "photos").iterdir())]
    rows = list(csv.DictReader(vit("predict", run, *names, "--threshold", "1", "--format", "csv").out.splitlines()))
    assert [(row["path"], row["class"]) for row in rows] == [(name, "") for name in names]
    (tmp_path / "folders/red").mkdir(parents=True)
    (tmp_path / "folders/red/a.png").write_bytes(Path(names[0]).read_bytes())
    refused = vit("eval", run, "--data", tmp_path / "folders")
    assert is_refused(refused, 3, "tells nothing of 1 label: green", "write a table")


def test_numbers_are_learned_resumed_judged_and_told_in_their_own_units(vit: Run, tmp_path: Path) -> None:
    run = ends_the_same(vit, write_recipe(tmp_path, "regression", "targets: [euros, grams]", steps=60), tmp_path)
    about = json.loads((run / "model/config.json").read_text())
    truth = {row["photo"]: row for row in read_rows(tmp_path / "table.csv")}
    facts = json.loads(vit("eval", run, "--json", "--per-class", "--predictions", "said.csv").out)
    said = read_rows(tmp_path / "said.csv")
    held = {Path(row["path"]).name for row in said}
    learned = np.array([[float(row["euros"]), float(row["grams"])] for name, row in truth.items() if name not in held])
    np.testing.assert_allclose(about["scale"]["mean"], learned.mean(axis=0))
    np.testing.assert_allclose(about["scale"]["std"], learned.std(axis=0))
    for target in ("euros", "grams"):
        true = np.array([float(row[target]) for row in said])
        assert true.tolist() == [float(truth[Path(row["path"]).name][target]) for row in said]
        off = np.array([float(row[f"{target} predicted"]) for row in said]) - true
        (row,) = [row for row in facts["per_class"] if row["target"] == target]
        assert row["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-4)
        assert row["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-4)
        assert row["r2"] == pytest.approx(1 - (off**2).sum() / ((true - true.mean()) ** 2).sum(), rel=1e-3)
        assert row["r2"] > 0.5, "much better than the mean"
    assert json.loads((run / "summary.json").read_text())["best_r2"] == pytest.approx(facts["r2"])
    (line,) = vit("predict", run, tmp_path / "photos/000.png", "--format", "jsonl").out.splitlines()
    assert [pair["target"] for pair in json.loads(line)["predictions"]] == ["euros", "grams"]
    assert 4000 < json.loads(line)["predictions"][0]["value"] < 9000
    assert (run / "plots/scatter.png").is_file()
    assert "rmse" not in facts, "a mean over units"
    assert "| euros | R²" in (run / "README.md").read_text()
    assert vit("eval", run, "--fail-under", "r2=-5").code == 0
    assert is_refused(vit("eval", run, "--fail-under", "rmse=10000"), 2, "has no such score")


def test_fine_tuning_keeps_the_task_the_head_and_the_scale(vit: Run, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "regression", "targets: [euros, grams]", steps=4)
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    text = (tmp_path / "table.csv").read_text().splitlines()
    other = tmp_path / "photos/other.csv"
    other.write_text("\n".join([text[0], *text[20:]]))
    few = ["train.epochs=1", "train.batch_size=8", "--out"]
    result = vit("finetune", tmp_path / "run", "--data", other, *few, "tuned")
    assert result.code == 0, result.err
    assert "head  kept (2 targets)" in result.err
    assert "before the first step at 16x16: R²" in result.err
    before, after = (json.loads((tmp_path / name / "model/config.json").read_text()) for name in ("run", "tuned"))
    assert (after["task"], after["recipe"]["loss"]["name"]) == ("regression", "mse")
    assert after["scale"] == before["scale"]
    new = vit("finetune", tmp_path / "run", "data.train.targets=[grams]", *few, "one")
    assert new.code == 0, new.err
    assert "head  replaced (2 -> 1 targets, zero-initialised)" in new.err
    strange = tmp_path / "photos/strange.csv"
    strange.write_text(other.read_text().replace("grams", "ounces").replace("euros", "dollars"))
    columns = ["data.train.targets=[dollars,ounces]", "data.train.target=null"]
    assert vit("finetune", tmp_path / "run", "--data", strange, *columns, *few, "strange").code == 0


def test_a_recipe_whose_parts_are_for_other_tasks_is_refused(vit: Run) -> None:
    for changes, problem in (
        (["task=multilabel", "loss.name=cross_entropy"], "cross_entropy is not for the task multilabel"),
        (["task=regression", "loss={name: binary_cross_entropy}"], "which takes mse or l1 or huber"),
        (["loss={name: huber}"], "huber is not for the task classification"),
        (["task=multilabel", "loss={name: binary_cross_entropy, label_smoothing: 0.1}"], "loss.label_smoothing"),
        (["task=multilabel", "loss={name: binary_cross_entropy, class_weights: auto}"], "loss.class_weights"),
        (["task=regression", "loss.name=mse", "train.early_stop={metric: top1}"], "regression has score or loss"),
    ):
        assert is_refused(vit("train", "digits", *changes), 2, problem)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("task", "targets"), [("multilabel", "target: colours"), ("regression", "targets: [grams]")])
def test_two_processes_learn_and_judge_as_one(vit_process: Run, tmp_path: Path, task: str, targets: str) -> None:
    recipe = write_recipe(tmp_path, task, targets, steps=10)
    for count in (1, 2):
        done = vit_process("train", recipe, "--out", f"run{count}", "-q", "--devices", count)
        assert done.code == 0, done.err
    rows = [read_rows(tmp_path / f"run{count}/metrics.csv")[-1] for count in (1, 2)]
    facts = [json.loads(vit_process("eval", "run1", "--json", "--devices", count).out) for count in (1, 2)]
    for name in ("map", "macro_f1") if task == "multilabel" else ("r2", "rmse"):
        assert float(rows[0][name]) == pytest.approx(float(rows[1][name]), rel=1e-3)
        assert facts[0][name] == pytest.approx(facts[1][name], rel=1e-9)

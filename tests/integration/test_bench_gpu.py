"""The benchmark for a GPU: its works are what they say, its arms take turns and end in time, and all of it runs on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.bench_arms import Figures
from scripts.bench_gpu import compare, make_rows
from scripts.bench_gpu_arms import RECIPE, rate
from scripts.bench_gpu_cifar import conclude, sources
from scripts.bench_gpu_works import ARMS, CLASSES, WORKS, Work
from vit_cli.recipe.load import load_recipe

SHOWN = ("checks", "tune_s16", "cifar")
"""The parts of a smoke run here; all of them, a minute or two: python scripts/bench_gpu.py --smoke."""
SCRIPT = Path(__file__).parents[2] / "scripts/bench_gpu.py"
PUBLISHED = {"s16": 22_050_664, "b16": 86_567_656, "l16": 304_326_632, "b16_384": 86_859_496, "tune_ti16": 5_717_416}
"""Parameters of the published models for 1,000 classes."""


@pytest.mark.parametrize(
    ("name", "giga"), [("s16", 27.48), ("b16", 105.15), ("l16", 369.0), ("b16_384", 332.2), ("tune_ti16", 7.46)]
)
def test_operations_of_training_are_those_counted_by_hand(name: str, giga: float) -> None:
    assert WORKS[name].flops / 1e9 == pytest.approx(giga, rel=1e-3)


@pytest.mark.parametrize("name", WORKS)
def test_a_work_is_a_recipe_of_the_published_model(name: str, tmp_path: Path) -> None:
    work = WORKS[name]
    text = RECIPE.format(
        model=work.section, classes=CLASSES, images=CLASSES, batch=work.batch, precision=work.precision,
        compile="off", graph="off",
    )  # fmt: skip
    (tmp_path / "work.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "work.yaml").recipe
    assert (recipe.model.res, recipe.train.batch_size) == (work.res, work.batch)
    assert work.arms[0] == "ours"
    assert set(work.arms) <= ARMS.keys()
    if name in PUBLISHED:
        import torch

        with torch.device("meta"):
            model = recipe.model.build(CLASSES)
        assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name]


def test_arms_take_turns_forwards_and_backwards() -> None:
    asked: list[str] = []

    def measure(arm: str) -> Figures:
        asked.append(arm)
        return {"step_img_s": float(len(asked)), "loop_img_s": 1.0}

    *_, (_, seen) = compare(WORKS["s16"], measure, rounds=2, until=time.monotonic() + 60)
    arms = WORKS["s16"].arms
    assert asked == [*arms, *reversed(arms)]
    assert [figures["step_img_s"] for figures in seen["ours"]] == [1.0, 2.0 * len(arms)]


def test_an_arm_that_may_not_end_in_time_is_not_begun() -> None:
    def measure(arm: str) -> Figures:
        time.sleep(0.2)
        return {"step_img_s": 1.0, "loop_img_s": 1.0}

    measured = [arm for arm, _ in compare(WORKS["s16"], measure, rounds=9, until=time.monotonic() + 0.5)]
    assert 1 <= len(measured) <= 2


def test_an_arm_that_fails_does_not_end_the_others() -> None:
    def measure(arm: str) -> Figures:
        if arm == "timm":
            sys.exit("out of memory")
        return {"step_img_s": 2.0, "loop_img_s": 1.0}

    *_, (_, seen) = compare(WORKS["s16"], measure, rounds=1, until=time.monotonic() + 60)
    assert seen["timm"] == []
    assert [row["name"] for row in make_rows("s16", WORKS["s16"], seen)] == [
        "s16_step_eager",
        "s16_step_beside_eager",
        "s16_step_beside_max",
    ]


def test_a_ratio_is_that_of_arms_of_one_round_with_what_is_asked_of_it() -> None:
    work = Work("any", 32, 1, 2, 16, 32, 8, step_floor=1.05)
    seen = {
        "ours": [{"step_img_s": 30.0, "loop_img_s": 9.0}, {"step_img_s": 20.0, "loop_img_s": 9.0}],
        "timm": [{"step_img_s": 10.0, "loop_img_s": 9.0}],
    }
    step, loop = make_rows("any", work, seen)
    assert (step["name"], step["ratio"], step["floor"]) == ("any_step", 3.0, 1.05)
    assert (loop["ratio"], loop["floor"]) == (1.0, 0.0)


def test_the_first_steps_of_a_loop_are_not_counted() -> None:
    assert rate([5.0, 9.0, 10.0, 11.0, 12.0], batch=8, warm_up=2) == pytest.approx(3 * 8 / 3)


def test_the_time_to_91_percent_is_that_of_the_first_evaluation_there() -> None:
    marks = [
        {"seconds": 10.0 * n, "epoch": n, "epochs": 9, "top1": top1}
        for n, top1 in enumerate((90.9, 91.0, 92.0, 91.5), 1)
    ]
    facts = {fact["name"]: fact["ours"] for fact in conclude(marks)}
    assert facts == {"to_91": 20.0, "to_91_epochs": 2, "top1": 91.5, "best_top1": 92.0, "seconds": 40.0}
    assert "to_91" not in {fact["name"] for fact in conclude(marks[:1])}


def test_pictures_of_parquet_files_become_class_folders_as_they_are(tmp_path: Path) -> None:
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    table = pa.table({"img": [{"bytes": b"one"}, {"bytes": b"two"}], "label": [3, 7]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}-0.parquet")
    list(sources(tmp_path, tmp_path, is_small=False))
    assert (tmp_path / "pictures/train/3/00000.png").read_bytes() == b"one"
    assert (tmp_path / "pictures/test/7/00001.png").read_bytes() == b"two"


@pytest.mark.slow
@pytest.mark.long
def test_a_smoke_run_measures_arms_checks_and_accuracy(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "--smoke", "--part", *SHOWN, "--out", "out", "--commit", "some"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout
    assert "different models" not in done.stdout
    out = tmp_path / "out"
    assert {path.stem for path in out.iterdir()} >= {f"gpu_{part}" for part in SHOWN}
    arm = json.loads((out / "gpu_tune_s16_timm.json").read_text())
    assert arm["machine"]["commit"] == "some"
    assert arm["rounds"][0]["step_img_s"] > 0 < arm["rounds"][0]["loop_img_s"]
    rows = json.loads((out / "gpu_tune_s16.json").read_text())["rows"]
    assert "tune_s16_loop_graph_alone" in [row["name"] for row in rows]
    facts = json.loads((out / "gpu_cifar.json").read_text())["facts"]
    assert "top1" in [fact["name"] for fact in facts]

"""The benchmark of the input path judges by the floors of its issue, computes its rows right, and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.bench_arms import alternate, children, finish, make_row, processor_seconds, watch
from scripts.bench_input_ours import write_recipe
from scripts.bench_input_works import INFORMS, WORKS, Place, Work
from vit_cli.recipe.load import load_recipe

SCRIPT = Path(__file__).parents[2] / "scripts/bench_input.py"
FLOORS = {
    "crop_flip": 1.7,
    "crop_flip_randaugment": 1.4,
    "device_augment": 1.9,
    "pack_256": 3.0,
    "evaluation": 2.0,
    "large_photos": 4.0,
    "cifar_feed": 8.0,
    "cifar_train": 1.1,
}


def test_the_floors_are_those_that_were_asked_for() -> None:
    assert {work.name: work.floor for work in WORKS} == FLOORS


def test_a_row_has_medians_and_the_ratios_of_each_round() -> None:
    row = make_row("name", "img/s", 1.5, ours=[20.0, 90.0, 40.0], peer=[10.0, 30.0, 40.0])
    assert row == {
        "name": "name",
        "unit": "img/s",
        "ours": 40.0,
        "peer": 30.0,
        "ratio": 2.0,
        "low": 1.0,
        "high": 3.0,
        "floor": 1.5,
    }


def test_arms_alternate_and_each_is_asked_in_every_round() -> None:
    asked = []
    ours, peer = alternate(lambda arm: asked.append(arm) or {"at": float(len(asked))}, rounds=3)
    assert asked == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert ([one["at"] for one in ours], [one["at"] for one in peer]) == ([1, 4, 5], [2, 3, 6])


@pytest.mark.parametrize(("ratio", "code"), [(1.99, 1), (2.0, 0)])
def test_the_exit_code_is_0_if_every_ratio_reaches_its_floor(tmp_path: Path, ratio: float, code: int) -> None:
    rows = [make_row("fine", "img/s", 0.0, [0.1], [1.0]), make_row("judged", "img/s", 2.0, [ratio], [1.0])]
    assert finish(rows, tmp_path / "rows.json") == code
    assert json.loads((tmp_path / "rows.json").read_text()) == rows


def test_the_first_batches_are_not_counted() -> None:
    def batches() -> list[list[int]]:
        for number in range(6):
            time.sleep(0.5 if number < 2 else 0.01)
            yield [0] * 5

    wall = watch(batches(), warm_up=2, measured=4)["wall"]
    assert 40 < wall < 20 / 0.04  # 20 images in 0.04 s and what the machine adds; with the first two it were under 30


def test_too_few_batches_are_an_error() -> None:
    with pytest.raises(ValueError, match="fewer than 4"):
        watch([[0]] * 3, warm_up=2, measured=2)


def test_processor_time_is_what_a_child_says_of_itself() -> None:
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(time.process_time(), flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        said = float(child.stdout.readline())
        assert child.pid in children(os.getpid())
        assert processor_seconds([child.pid]) == pytest.approx(said, abs=0.05)
        child.communicate(b"\n")


@pytest.mark.parametrize("work", [*WORKS, INFORMS], ids=lambda work: work.name)
def test_every_work_is_a_recipe_that_says_what_the_work_says(work: Work, tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "cifar10")
    (tmp_path / "work.yaml").write_text(write_recipe(work, place, steps=10))
    recipe = load_recipe(tmp_path / "work.yaml").recipe
    assert (recipe.model.res, recipe.train.batch_size, recipe.train.precision) == (work.res, work.batch, work.precision)
    assert recipe.data.augment_on == work.augment_on
    assert recipe.data.train.name == {"pack": "shards", "cifar": "hf"}.get(work.source, "folder")
    policy = ["randaugment", "random_erasing"] if work.policy else []
    assert [item.name for item in recipe.augment] == ["random_resized_crop", "flip", *policy]


@pytest.mark.slow
@pytest.mark.long
def test_a_quick_run_writes_the_row_of_a_work(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "--quick", "--only", "crop_flip", "--json", "rows.json", "--photos", "none"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["name"] for row in rows] == ["crop_flip", "crop_flip_wall"]
    assert rows[0]["low"] <= rows[0]["ratio"] <= rows[0]["high"]
    assert rows[0]["ours"] > 0 < rows[0]["peer"]
    assert done.returncode == (rows[0]["ratio"] < 1.7)
